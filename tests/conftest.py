"""Which tests run: the fast and telling ones, all with --all; files that are named run whole.

Tests named *_live.py compare with the reference and run with --live; others need no torch.
"""

import atexit
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

# Files that take long as a whole; single tests elsewhere are marked where they stand.
SLOW = {
    "bench/test_quantised_speech",
    "bench/test_report",
    "bench/test_scan",
    "commands/test_speak_hub",
    "engine/test_devices",
    "engine/test_own_cache",
    "engine/test_rows_alone",
    "int8/test_build",
    "int8/test_kernels",
    "model/test_caches",
    "model/test_compiled",
    "model/test_drivers",
    "model/test_export",
    "model/test_generate",
    "store/test_quantized",
    "store/test_quantized_copies",
    "store/test_quantized_files",
    "store/test_quantized_speech",
    "train/test_codec",
    "train/test_codec_runs",
    "train/test_evaluate",
    "train/test_lm",
    "train/test_lm_commands",
    "train/test_loop",
    "train/test_objectives",
    "train/test_rows",
}


# What one file's tests have compiled, the next file's and their child processes find again. JAX
# reads this when it is imported, and a folder's own conftest may do that early.
COMPILED = tempfile.mkdtemp(prefix="compiled-")
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_itemcollected(item: pytest.Item) -> None:
    if str(item.path.relative_to(HERE).with_suffix("")) in SLOW:
        item.add_marker("slow")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the tests marked slow too")
    parser.addoption("--noskip", action="store_true", help="what is skipped has failed")
    parser.addoption(
        "--live", action="store_true", help="also compare with the reference (extra `oracle`)"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes long; left out unless --all or named")
    # Whoever runs in the background of a shell ignores Ctrl-C, under nohup SIGHUP too,
    # and so does what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name.endswith("_live.py") and not config.getoption("--live"):
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if not named and not config.getoption("--all"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and item.config.getoption("--noskip"):
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr[-1]}"
    return report


@pytest.fixture(autouse=True)
def levels_of_loggers() -> Iterator[None]:
    """A command that is told to be quiet sets them for its process, which here goes on."""
    loggers = [logging.getLogger(name) for name in ("ptts_jax", "int8")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True, scope="module")
def release_compiled_code() -> Iterator[None]:
    """Every compiled program holds memory mappings, of which a process may have some 65 000: all
    the tests' programs together have more, and the next compilation would abort the process."""
    yield
    if jax := sys.modules.get("jax"):
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model on disk, for whoever leaves it as it is: `tiny_files.Files`."""
    from tests.support import tiny_files  # imports JAX, which first must be set up

    return tiny_files.write(tmp_path_factory.mktemp("tiny"))


def pytest_runtest_teardown() -> None:
    """Executables that a test keeps are no others'."""
    if kept := sys.modules.get("ptts_jax.model.kept"):
        kept.keep(None)
