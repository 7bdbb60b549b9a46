"""Loading a model, and what importing and starting do to a process."""

import dataclasses
import os
import platform
import subprocess
import sys

import pytest

import ptts_jax
from tests.support import tiny_files

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_a_model_that_is_none(files, folder, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
    (folder / "typo.yaml").write_text(files.yaml.read_text().replace("num_heads", "num_head"))
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, problem in {
        "englsh": "unknown model 'englsh'; did you mean english",
        "": "'' is not a model",
        "model.bin": "'model.bin' is not a model",
        str(folder): "is not a model",
        str(folder / "none.yaml"): "no such file",
        str(folder / "typo.yaml"): "num_head: unknown field; did you mean num_heads",
        str(folder / "binary.yaml"): "not a text file",
        str(files.weights): "not a converted model",
    }.items():
        with pytest.raises(ValueError, match=problem):
            ptts_jax.load(name)


def test_a_folder_does_not_hide_a_released_model(tmp_path, monkeypatch):
    """Whatever lies in the working directory; no network is needed to see which way it goes."""
    (tmp_path / "english").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE"):
        ptts_jax.load("english")


def test_damaged_weights(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    weights, described = tmp_path / "model.safetensors", tmp_path / "model.yaml"
    described.write_text(tiny_files.described(tiny_files.CONFIG, weights, files.tokenizer))
    for payload, problem in (
        (None, "no such file"),
        (b"", "empty"),
        (files.weights.read_bytes()[:-7], "cut short"),
        (files.weights.read_bytes()[:100], "cut short"),
        (b"\x80\x02pickle" * 10, "not a safetensors file"),
    ):
        if payload is not None:
            weights.write_bytes(payload)
        with pytest.raises(ValueError, match=problem) as caught:
            ptts_jax.load(described)
        assert str(weights) in str(caught.value) and "\n" not in str(caught.value)
    more = dataclasses.replace(tiny_files.CONFIG.flow_lm, z_dim=8)
    c = dataclasses.replace(tiny_files.CONFIG, flow_lm=more)
    weights.write_bytes(files.weights.read_bytes())
    described.write_text(tiny_files.described(c, weights, files.tokenizer))
    with pytest.raises(ValueError, match="do not fit the model's config") as caught:
        ptts_jax.load(described)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/weights/*"))


QUIET_IMPORT = """
import os, sys, threading
import jax, flax.linen, numpy
settings, environment = dict(jax.config.values), dict(os.environ)
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.") else None)
import ptts_jax
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a backend was started"
assert dict(jax.config.values) == settings, "settings were changed"
assert dict(os.environ) == environment, "the environment was changed"
assert threading.active_count() == 1, "a thread was started"
assert not seen, seen
heavy = {"scipy.signal", "soundfile", "huggingface_hub", "sentencepiece", "tokenizers", "torch"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert callable(ptts_jax.use_compilation_cache)
"""


def test_importing_does_nothing():
    code, environment = QUIET_IMPORT, os.environ | {"PYTHONPATH": os.getcwd()}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout == "", run.stderr


HEAPS = """
import ctypes, sys, threading
from ptts_jax.engine import startup
if sys.argv[1] == "one":
    startup.use_one_heap()
libc, block = ctypes.CDLL(None), threading.Barrier(4)
libc.malloc.restype = ctypes.c_void_p
def work():
    libc.free(ctypes.c_void_p(libc.malloc(1000)))
    block.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads], [t.join() for t in threads]
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere there is nothing to set")
def test_a_command_has_one_heap():
    heaps = [
        subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, check=True).stdout
        for how in ("one", "many")
    ]
    assert heaps[0].count(b"<heap nr=") == 1 < heaps[1].count(b"<heap nr=")
