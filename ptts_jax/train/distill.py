"""python -m ptts_jax.train.distill: a language model that learns from another one.

Its run is one of a language model like any other: it can be exported, or distilled again.
"""

import dataclasses
from pathlib import Path

import jax
from absl import flags
from jax import Array

from ptts_jax.model.config import FlowLMConfig
from ptts_jax.train.codec.latents import open_latents
from ptts_jax.train.data.corpus import open_corpus
from ptts_jax.train.lm import distillation, material, recipe, runs, tokens, validation
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.stage import Params
from ptts_jax.train.run import command, options

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
    add = command.definers(values)
    add.needed(teacher="the run of a language model")
    add.choice("kind", "backbone", distillation.KINDS, "what learns")
    add.whole("layers", 0, "of the student; 0: the teacher's", 0)
    add.number("guidance", 1.0, "1.5 to 2 to guide; 1: none", 1.0)
    recipe.define(values, DEFAULTS, *WITHOUT)


def run(given: flags.FlagValues) -> None:
    out, folder, kind = Path(given.out), Path(given.teacher), given.kind
    if kind == "pointwise" and (given.layers or given.guidance != 1):
        raise ValueError("--kind=pointwise changes the head alone: leave --layers and --guidance")
    teacher, c, tokenizer, meta = runs.load(folder)
    if kind == "pointwise" and c.flow_lm.flow.type != "lsd":
        raise ValueError(f"{folder}: its head is {c.flow_lm.flow.type}; --kind=pointwise needs lsd")
    own = recipe.read(given, eos_frames=Recipe(**meta["recipe"]).eos_frames)
    layers = given.layers or c.flow_lm.transformer.num_layers

    def student(key: Array) -> tuple[Params, FlowLMConfig]:
        if kind == "pointwise":
            return distillation.pointwise(key, teacher, c.flow_lm)
        return distillation.shallow(teacher, c.flow_lm, layers)

    spoken = dataclasses.replace(c, flow_lm=student(jax.random.key(0))[1])
    if not (out / runs.TOKENIZER).exists():
        tokens.save(out / runs.TOKENIZER, tokenizer)
    corpus, latents = open_corpus(given.corpus), open_latents(given.latents)
    data = material.read(
        corpus, latents, spoken, tokenizer, own, joined=given.joined, seed=given.seed
    )
    training = distillation.stage(
        kind,
        (spoken.flow_lm, c.flow_lm),
        own,
        lambda key: (student(key)[0], teacher),
        data.batch,
        given.guidance,
        validation.validator(spoken, own, data.held),
        meta=runs.meta(spoken, meta["encoder"], own),
    )
    options.launch(training, given)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
