"""Tests named *_live.py compare with the reference and run with --live; others need no torch."""

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--live", action="store_true", help="also compare with the reference (extra `oracle`)"
    )


def pytest_configure(config: pytest.Config) -> None:
    # What one file's tests have compiled, the next file's and their child processes find again.
    # JAX reads this when it is imported.
    folder = tempfile.mkdtemp(prefix="compiled-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # Whoever runs in the background of a shell ignores Ctrl-C, and what it starts does too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name.endswith("_live.py") and not config.getoption("--live"):
        return True
    return None


@pytest.fixture(autouse=True, scope="module")
def release_compiled_code() -> Iterator[None]:
    """Every compiled program holds memory mappings, of which a process may have some 65 000: all
    the tests' programs together have more, and the next compilation would abort the process."""
    yield
    if jax := sys.modules.get("jax"):
        jax.clear_caches()
        gc.collect()
