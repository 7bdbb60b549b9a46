"""Models on disk, and caches of the test's own."""

import pytest

from tests.support import tiny_files
from tests.support.fakehub import FakeHub
from tests.support.fetching import BIG, OTHER, PIN
from tests.support.small_weights import write_source


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "model.safetensors")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def offline_cache(tmp_path, monkeypatch):
    """A cache of the test's own, without a network behind it."""
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache" / "weights"


@pytest.fixture
def model(tmp_path, offline_cache):
    return tiny_files.write(tmp_path / "model")


@pytest.fixture
def server():
    files = {
        ("kyutai/model", PIN): {"deep/model.safetensors": BIG, "small.yaml": b"a: 1\n"},
        ("kyutai/model", "main"): {"voice.bin": BIG, "small.yaml": b"a: 1\n"},
        ("kyutai/gated", PIN): {"model.safetensors": BIG},
        ("kyutai/public", PIN): {"model.safetensors": OTHER},
    }
    plain = {"/files/voice one.wav": BIG, "/empty.yaml": b""}
    with FakeHub(files, gated={"kyutai/gated"}, plain=plain) as running:
        yield running


@pytest.fixture
def client(server, tmp_path, monkeypatch):
    """The client's side: caches in an empty folder, nobody logged in, short patience."""
    for name, value in server.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "2")
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
