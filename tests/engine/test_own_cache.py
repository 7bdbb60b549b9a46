"""A cache of one's own, as a stranger writes it, goes everywhere that the built-in ones go."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax import Array

import ptts_jax
from ptts_jax.model.attention import attend, visible
from ptts_jax.model.caches import rows
from tests.support import tiny_files


@struct.dataclass
class Plain:
    """Keys and values by position, each in [B, S, Hkv, D]."""

    kv: tuple[tuple[Array, Array], ...]  # per layer
    positions: Array  # [B]

    slots_for = staticmethod(lambda fixed, frames: rows.bucket(fixed + frames))
    slots = property(lambda self: self.kv[0][0].shape[1])
    dtype = property(lambda self: self.kv[0][0].dtype)

    @classmethod
    def init(cls, shape: Any) -> "Plain":
        size = (shape.batch, shape.slots, shape.heads, shape.width)
        kv = tuple((jnp.zeros(size), jnp.zeros(size)) for _ in range(shape.layers))
        return cls(kv, jnp.zeros(shape.batch, jnp.int32))

    @classmethod
    def from_voices(cls, shape: Any, voices: Any) -> "Plain":
        cache = cls.init(shape)
        for row, voice in enumerate(voices):
            pairs = zip(cache.kv, zip(voice.k, voice.v, strict=True), strict=True)
            length = voice.k[0].shape[1]
            kv = tuple(
                tuple(x.at[row, :length].set(y.swapaxes(0, 1)) for x, y in zip(*p, strict=True))
                for p in pairs
            )
            cache = cls(kv, cache.positions.at[row].set(length))
        return cache

    def attend(self, layer, q, k, v, positions):
        where = jnp.arange(len(q))[:, None], jnp.where(positions < 0, self.slots, positions)
        k, v = (
            x.at[where].set(y, mode="drop") for x, y in zip(self.kv[layer], (k, v), strict=True)
        )
        mask = visible(positions, jnp.arange(self.slots)[None])
        heads = (x.swapaxes(1, 2).reshape(-1, self.slots, x.shape[3]) for x in (k, v))
        return attend(q, *heads, mask), self.replace(kv=rows.put(self.kv, layer, (k, v)))

    def close(self, positions):
        return self.replace(positions=rows.read(self.positions, positions))

    def rewind(self, positions):
        return self.replace(positions=jnp.minimum(self.positions, positions))

    def open(self, positions):
        return self

    pin, insert = open, rows.insert

    def row(self, slot):
        return rows.take(self, slot, len(self.positions))


LINES = ["Hello there.", "It was late, and nobody came. Was it 3.14 miles, or more?"]


@pytest.fixture(scope="module")
def spoken(files, tmp_path_factory):
    """What a cache makes of two texts: one by one, streamed, and side by side."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))

        def speak(cache: Any) -> list[np.ndarray]:
            tts = ptts_jax.load(files.yaml, cache=cache)
            voice = tts.voice(tiny_files.speech(1.0))
            streamed = np.concatenate(list(tts.stream(LINES[1], voice, seed=2, max_tokens=12)))
            one = [tts.generate(LINES[0], voice, seed=1)]
            return [*one, streamed, *tts.generate_batch(LINES, voice, seed=[1, 2], max_tokens=12)]

        whole = speak("full")
        for alone, beside in zip(whole[:2], whole[2:], strict=True):
            np.testing.assert_allclose(alone, beside, atol=1e-4)
        yield speak, whole


@pytest.mark.parametrize("cache", [Plain, f"{__name__}:Plain", "ring", "paged"], ids=str)
def test_exact_caches_speak_alike(cache, spoken):
    speak, whole = spoken
    for wave, want in zip(speak(cache), whole, strict=True):
        assert wave.std() > 0.01
        np.testing.assert_allclose(wave, want, atol=1e-4)


@pytest.mark.parametrize("cache", ["bf16", "int8"])
def test_rounded_caches_begin_alike(cache, spoken):
    """Later they go ways of their own, since every frame is fed back."""
    speak, whole = spoken
    frame = tiny_files.CONFIG.mimi.frame_size
    for wave, want in zip(speak(cache), whole, strict=True):
        error = np.abs(wave[: 2 * frame] - want[: 2 * frame]).max()
        assert 0 < error < 0.1 * np.abs(want).max()
