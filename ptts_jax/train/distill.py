"""python -m ptts_jax.train.distill: a language model that learns from another one.

Its run is one of a language model like any other: it can be exported, or distilled again.
"""

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags
from jax import Array

from ptts_jax.train import command, distill_stage, lm, lm_options, lm_validation, tokens
from ptts_jax.train.lm_stage import Params, Recipe

USAGE = """Distil a language model:
python -m ptts_jax.train.distill --kind=KIND --teacher=RUN --corpus=... --latents=... --out=RUN

--kind=backbone --guidance=1.5 bakes guidance into one pass (the teacher needs --drop_text);
--kind=backbone --layers=4 makes it shallower; --kind=pointwise gives it a head without times.
"""
DEFAULTS = Recipe(steps=4000, rate=5e-4, copies=2, history_noise=0.1, history_dropout=0.05)
# Of a Recipe, what distillation has no use for.
WITHOUT = (
    *("objective", "head_from", "regress", "eos", "drop_text", "drop_voice", "int8"),
    *("guide", "guide_later", "guide_steps", "guide_sigma"),
)


def define(values: flags.FlagValues) -> None:
    text = partial(flags.DEFINE_string, flag_values=values)
    text("teacher", None, "the run of a language model", required=True)
    flags.DEFINE_enum("kind", "backbone", distill_stage.KINDS, "what learns", flag_values=values)
    flags.DEFINE_integer("layers", 0, "of the student; 0: the teacher's", 0, flag_values=values)
    flags.DEFINE_float("guidance", 1.0, "1.5 to 2 to guide; 1: none", 1.0, flag_values=values)
    lm_options.define(values, DEFAULTS, *WITHOUT)


def run(options: flags.FlagValues) -> None:
    out, own = Path(options.out), lm_options.recipe(options)
    kind, folder = options.kind, Path(options.teacher)
    if kind == "pointwise" and (options.layers or options.guidance != 1):
        raise ValueError("--kind=pointwise changes the head alone: leave --layers and --guidance")
    taught, c, tokenizer, meta = lm.load(folder)
    if kind == "pointwise" and c.flow_lm.flow.type != "lsd":
        raise ValueError(f"{folder}: its head is {c.flow_lm.flow.type}; --kind=pointwise needs lsd")
    own = dataclasses.replace(own, eos_frames=Recipe(**meta["recipe"]).eos_frames)
    layers = options.layers or c.flow_lm.transformer.num_layers
    _, flow_lm = _student(None, taught, c.flow_lm, kind, layers)
    whole = dataclasses.replace(c, flow_lm=flow_lm)

    def initial(key: Array) -> tuple[Params, Params]:
        return _student(key, taught, c.flow_lm, kind, layers)[0], taught

    if not (out / lm.TOKENIZER).exists():
        tokens.save(out / lm.TOKENIZER, tokenizer)
    data = lm_options.read(options, whole, tokenizer, own)
    stage = distill_stage.stage(
        kind,
        (flow_lm, c.flow_lm),
        own,
        initial,
        data.batch,
        options.guidance,
        lm_validation.validator(whole, own, data.held),
        meta=lm.meta(whole, meta["encoder"], own),
    )
    lm_options.run(stage, options, own)


def _student(
    key: Array | None, taught: Params, c: Any, kind: str, layers: int
) -> tuple[Params, Any]:
    if kind == "pointwise":
        return distill_stage.pointwise(key if key is not None else jax.random.key(0), taught, c)
    return distill_stage.shallow(taught, c, layers)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
