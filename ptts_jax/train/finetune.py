"""python -m ptts_jax.train.finetune: a model that speaks already, on a corpus of one's own.

Takes what `--model` takes everywhere and writes a self-contained file that is used the same way.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import Array

from ptts_jax import tts
from ptts_jax.store import converted
from ptts_jax.store.bfloat16 import widened
from ptts_jax.train.codec import latents
from ptts_jax.train.codec import runs as codecs
from ptts_jax.train.data.corpus import open_corpus
from ptts_jax.train.lm import material, recipe, runs, stage
from ptts_jax.train.lm.objectives import OBJECTIVES
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.stage import Params
from ptts_jax.train.run import command, options

USAGE = """Fine-tune a model:
python -m ptts_jax.train.finetune --model=MODEL --corpus=FOLDER --latents=FOLDER --out=FOLDER

--latents is made with the model's own encoder where it does not exist. --frozen=lm/head,lm/text
leaves these parameters as they are; --int8 trains for quantised products.
"""
DEFAULTS = Recipe(
    steps=1000, batch=8, rate=2e-5, warmup=50, decay=0.1, ema=0.99, regress=0.0, guide=0.0
)
WITHOUT = ("objective", "head_from", "regress")
WITHOUT += ("guide", "guide_later", "guide_steps", "guide_sigma")
FILE = "model.safetensors"


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(model="a released model, a YAML file, or a converted file")
    add.items("frozen", [], "paths of parameters, as patterns")
    recipe.define(values, DEFAULTS, *WITHOUT)


def run(given: flags.FlagValues) -> None:
    model = tts.load(given.model, quiet=given.quiet)
    c, params, kind = model.config, model.params, model.config.flow_lm.flow.type
    if kind not in OBJECTIVES:
        raise ValueError(f"{model.name}: its head is {kind}, which only distillation can train")
    runs.check_float(model, model.name)
    codec, mimi = codecs.of_model(model, model.name)
    own = recipe.read(given, objective=kind, regress=0.0, guide=0.0)
    corpus, folder = open_corpus(given.corpus), Path(given.latents)
    if not (folder / latents.NAME).exists():
        latents.encode(codec["encoder"], mimi, corpus, folder, given.quiet)
    known = latents.open_latents(folder)
    known.check_codec(codec["encoder"], model.name)
    scale = tuple(np.asarray(params["lm"][name]) for name in ("mean", "std"))
    data = material.read(
        corpus, known, c, model.tokenizer, own, joined=given.joined, seed=given.seed, scale=scale
    )

    def initial(key: Array) -> Params:
        width = c.flow_lm.z_dim or c.flow_lm.transformer.d_model
        extra = stage.extra(key, width, mimi.latent_dim)
        return {"lm": jax.tree.map(jnp.asarray, widened(params["lm"])), "extra": extra}

    training = stage.stage(
        c.flow_lm,
        own,
        initial,
        data.batch,
        fixed=tuple(given.frozen),
        meta={"model": model.name},
    )
    state = options.launch(training, given)
    tuned = {**params, "lm": jax.tree.map(np.asarray, state["ema"])}
    changed = {"name": f"{model.name}-tuned", "config": c, "params": tuned}
    converted.save(Path(given.out) / FILE, converted.of(model, **changed))


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
