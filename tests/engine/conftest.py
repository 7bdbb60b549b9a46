"""A tiny model with random weights that tells its words: nothing to understand, the same rules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import ptts_jax
from ptts_jax.engine import heads
from ptts_jax.engine.voices import Voice
from ptts_jax.store import hub
from tests.support import tiny_files
from tests.support.facade import workers


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tts")


@pytest.fixture(scope="module")
def tts(files, folder) -> Iterator[ptts_jax.TTS]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (heads, hub):  # PTTS_JAX_CACHE would build the kernels anew
            patch.setattr(module, "cache_dir", lambda: folder / "cache")
        yield ptts_jax.load(files.yaml)


@pytest.fixture(scope="module")
def voice(tts) -> Voice:
    return tts.voice(tiny_files.speech(1.0, seed=0))


@pytest.fixture(scope="module")
def voices(tts) -> list[Voice]:
    return [tts.voice(tiny_files.speech(seconds, seed=i)) for i, seconds in enumerate((1, 2.5))]


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not workers()
