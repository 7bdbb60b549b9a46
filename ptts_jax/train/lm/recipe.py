"""How a language model is trained: one dataclass, its flags and their checks."""

from dataclasses import dataclass
from typing import Any

from absl import flags

from ptts_jax.text.normalize import LANGUAGES
from ptts_jax.train.lm.objectives import OBJECTIVES
from ptts_jax.train.run import command, options


@dataclass(frozen=True)
class Recipe:
    """How to train; what is trained is a FlowLMConfig."""

    objective: str = "lsd"
    steps: int = 20_000
    batch: int = 32
    rate: float = 1.5e-3
    warmup: int = 300
    decay: float = 0.05
    ema: float = 0.998
    copies: int = 4  # of each frame, for the head
    head_from: int = 0  # step from which the head is trained
    head_only: bool = False  # what the head looks at stays
    regress: float = 1.0  # weights of the losses beside the head's
    eos: float = 0.3
    eos_frames: int = 2  # before the end that count as the end
    guide: float = 5.0
    guide_later: float = 1.0
    guide_steps: int = 1000  # then the later weight, fading out over the rest
    guide_sigma: float = 0.15
    history_noise: float = 0.25
    history_dropout: float = 0.1
    drop_text: float = 0.0
    drop_voice: float = 0.0
    voices: tuple[int, int] = (8, 18)  # frames of the voice prompt, least and most
    buckets: int = 5
    curriculum: int = 0  # steps until the longest rows are seen
    bf16: bool = False
    muon: bool = False  # orthogonalised updates of the backbone's matrices, else AdamW alone
    language: str = ""  # in which numbers and initials are learned as they are said
    int8: bool = False  # products as the int8 model does them, for fine-tuning


FLAGS = {
    "objective": "of the head",
    "copies": "of each frame, for the head",
    "head_from": "the step from which the head is trained",
    "head_only": "train the head alone: the rest of --start stays as it is",
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
    "language": "of the texts: numbers and initials are learned as they are said; if not given, as "
    "they are written",
    "int8": "products as the int8 model does them, to fine-tune for it",
}


def define(values: flags.FlagValues, defaults: Recipe, *without: str) -> None:
    """The flags of any run that trains a language model, and those of its recipe but `without`."""
    add = command.definers(values)
    options.define(values)
    add.needed(latents="its latents")
    add.number("joined", 0.15, "joined sentences per single one", 0)
    choices = {"objective": tuple(OBJECTIVES), "language": ("", *LANGUAGES)}
    options.define_recipe(values, defaults, FLAGS, without, choices)


def read(given: flags.FlagValues, **others: Any) -> Recipe:
    """The recipe that the flags describe, but for what `others` say."""
    try:
        least, most = (int(x) for x in given.voices)
    except ValueError:
        raise ValueError(f"voices {','.join(given.voices)}: give two numbers, as 8,16") from None
    if not 0 < least <= most:
        raise ValueError(f"voices {least},{most}: give the least first, from 1 up")
    return options.recipe(given, Recipe, voices=(least, most), **others)
