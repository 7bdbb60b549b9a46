"""What the commands that train a language model share: flags, the data, the run itself."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ptts_jax.config import Config
from ptts_jax.text import Tokenizer, longest_chunk
from ptts_jax.train import loop, material, rows
from ptts_jax.train.corpus import open_corpus
from ptts_jax.train.latents import open_latents
from ptts_jax.train.lm_stage import OBJECTIVES, Recipe
from ptts_jax.train.rows import Material, Rows

HELP = {
    "objective": "of the head",
    "copies": "of each frame, for the head",
    "head_from": "the step from which the head is trained",
    "regress": "weight of the regression beside the head",
    "eos": "weight of the end's loss",
    "eos_frames": "before the end that count as the end",
    "guide": "weight of the guide along the diagonal at first",
    "guide_later": "its weight after guide_steps, fading out",
    "history_noise": "at most, in the frames fed back",
    "history_dropout": "share of the frames fed back that are dropped",
    "voices": "frames of the voice prompt, least and most",
    "curriculum": "steps until the longest rows are seen",
    "bf16": "products of bfloat16 inputs",
    "int8": "products as the int8 model does them, to fine-tune for it",
}


def define(values: flags.FlagValues, defaults: Recipe, *without: str) -> None:
    """The flags of any such run, and one for every field of a Recipe but those `without`."""
    text = partial(flags.DEFINE_string, flag_values=values)
    text("corpus", None, "the corpus to train on", required=True)
    text("latents", None, "its latents", required=True)
    text("out", None, "the folder of this run", required=True)
    flags.DEFINE_integer("seed", 0, "of everything random", flag_values=values)
    flags.DEFINE_integer("validate_every", 500, "steps", lower_bound=1, flag_values=values)
    flags.DEFINE_float("save_minutes", 5, "between checkpoints", 0, flag_values=values)
    flags.DEFINE_float("joined", 0.15, "joined sentences per single one", 0, flag_values=values)
    flags.DEFINE_bool("quiet", False, "no progress", flag_values=values)
    for field in dataclasses.fields(Recipe):
        if field.name in without:
            continue
        name, default = field.name, getattr(defaults, field.name)
        about = HELP.get(name, name.replace("_", " "))
        if name == "objective":
            flags.DEFINE_enum(name, default, OBJECTIVES, about, flag_values=values)
        elif isinstance(default, tuple):
            flags.DEFINE_list(name, [str(x) for x in default], about, flag_values=values)
        elif isinstance(default, bool):
            flags.DEFINE_bool(name, default, about, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, about, lower_bound=0, flag_values=values)
        else:
            flags.DEFINE_float(name, default, about, lower_bound=0, flag_values=values)


def recipe(options: flags.FlagValues, **others: Any) -> Recipe:
    found = {f.name: options[f.name].value for f in dataclasses.fields(Recipe) if f.name in options}
    try:
        least, most = (int(x) for x in found["voices"])
    except ValueError:
        raise ValueError(f"voices {','.join(found['voices'])}: give two numbers, as 8,16") from None
    if not 0 < least <= most:
        raise ValueError(f"voices {least},{most}: give the least first, from 1 up")
    return Recipe(**{**found, "voices": (least, most), **others})


@dataclasses.dataclass(frozen=True)
class Data:
    train: Material
    held: Material
    batch: Callable[[int], Rows]  # of a step


def read(
    options: flags.FlagValues,
    c: Config,
    tokenizer: Tokenizer,
    own: Recipe,
    scale: tuple[np.ndarray, np.ndarray] | None = None,
) -> Data:
    """The corpus and its latents, both splits of it.

    `scale` is the mean and deviation that a model normalises by already.
    """
    source = _material(options, c, tokenizer, "train", options.joined, scale)
    held = _material(options, c, tokenizer, "heldout", 0.0, scale)
    parts = rows.buckets(source.utterances, own.buckets)
    batch = material.batches(source, parts, own.batch, own.voices, options.seed, own.curriculum)
    return Data(source, held, batch)


def _material(
    options: flags.FlagValues,
    c: Config,
    tokenizer: Tokenizer,
    split: str,
    joined: float,
    scale: tuple[np.ndarray, np.ndarray] | None,
) -> Material:
    """A split of the corpus with its latents."""
    corpus, kept = open_corpus(options.corpus), open_latents(options.latents)
    kept.check_corpus(corpus)
    clips = corpus.select(split=split)
    if not clips:
        raise ValueError(f"{options.corpus}: no clip is {split}; make a larger corpus")
    return material.material(
        clips,
        *kept.of_all(clips),
        *(scale or (kept.mean, kept.std)),
        tokenizer,
        c.text_rules,
        joined=joined,
        longest=longest_chunk(c),
        seed=options.seed,
    )


def run(stage: loop.Stage, options: flags.FlagValues, own: Recipe) -> loop.State:
    return loop.run(
        stage,
        out=Path(options.out),
        steps=own.steps,
        seed=options.seed,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
        quiet=options.quiet,
    )
