"""A tiny corpus with latents, as the trainers of the language model take them."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ptts_jax.model import config
from ptts_jax.train.data.corpus import Clip
from ptts_jax.train.lm import material, rows, stage, tokens
from tests.support import tiny

WORDS = ("cat", "sat", "a", "mat", "my", "dog", "ran", "to", "two", "big", "red", "trees")


@functools.cache
def clips(count: int = 24, seed: int = 0) -> tuple[Clip, ...]:
    """Sentences of two speakers; a frame is 96 samples."""
    rng, found, start = np.random.default_rng(seed), [], 0
    for i in range(count):
        said = " ".join(rng.choice(WORDS, rng.integers(2, 6)))
        length = 96 * (len(said) // 2 + 2)
        split = "heldout" if i % 6 == 5 else "train"
        found.append(Clip(said.capitalize() + ".", "ab"[i % 2], start, length, split))
        start += length
    return tuple(found)


@functools.cache
def tokenizer():
    return tokens.train(c.text for c in clips())


@functools.cache
def small(kind: str = "lsd") -> config.Config:
    """A model of the tiny codec's latents that reads characters."""
    flow_lm = dataclasses.replace(
        tiny.PLAIN.flow_lm,
        flow=config.FlowConfig(dim=16, depth=1, type=kind),
        lookup_table=config.LookupTable(
            dim=32, n_bins=tokenizer().n_bins, tokenizer="sentencepiece", tokenizer_path="none"
        ),
    )
    return dataclasses.replace(tiny.PLAIN, flow_lm=flow_lm)


def latents(some: tuple[Clip, ...], width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(frames, starts): each frame tells of the character that is being said."""
    rng = np.random.default_rng(1)
    sounds = 2 * rng.normal(size=(128, width)) + 0.5
    parts = []
    for clip in some:
        count = clip.length // 96
        at = np.minimum(np.arange(count) * 2, len(clip.text) - 1)
        voice = 0.3 if clip.speaker == "a" else -0.3
        parts.append(sounds[[ord(clip.text[i].lower()) % 128 for i in at]] + voice)
    starts = np.cumsum([0, *(len(p) for p in parts)])
    return np.concatenate(parts).astype(np.float32), starts


@functools.cache
def source(**options: float) -> rows.Material:
    frames, starts = latents(clips())
    mean, std = frames.mean(0), frames.std(0)
    rules = config.TextRules()
    return material.material(clips(), frames, starts, mean, std, tokenizer(), rules, **options)


def quick_compilation() -> Iterator[None]:
    """Compile in half the time to slower programs: what a module's fixture may yield from."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def shallow(kind: str = "lsd") -> config.FlowLMConfig:
    """The smallest language model: each layer is much to compile."""
    c = small(kind).flow_lm
    return dataclasses.replace(c, transformer=dataclasses.replace(c.transformer, num_layers=1))


def fresh(c: config.FlowLMConfig, seed: int = 0) -> dict:
    """Parameters as `stage.init` gives them, without compiling anything."""
    make = functools.partial(stage.init, c=c, source=source())
    rng = np.random.default_rng(seed)

    def filled(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = path[-1].key
        if name in ("scale", "alpha", "std"):
            return jnp.ones(leaf.shape)
        if name == "freqs":
            return jnp.asarray(10_000.0 ** -(np.arange(leaf.shape[0]) / leaf.shape[0]), jnp.float32)
        if name in ("b", "bias", "mean", "precision", "consistency"):
            return jnp.zeros(leaf.shape)
        drawn = rng.normal(size=leaf.shape) * (1.0 if name == "table" else leaf.shape[-1] ** -0.5)
        return jnp.asarray(drawn, jnp.float32)

    return jax.tree_util.tree_map_with_path(filled, jax.eval_shape(make, jax.random.key(0)))
