"""python -m ptts_jax.train.finetune: a model that speaks already, on a corpus of one's own.

Takes what `--model` takes everywhere and writes a self-contained file that is used the same way.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax import Array

from convert import flatten
from int8 import QTensor
from ptts_jax import tts, weights
from ptts_jax.halves import widened
from ptts_jax.train import command, crops, latents, lm_options, lm_stage
from ptts_jax.train.corpus import Corpus, open_corpus
from ptts_jax.train.lm_stage import OBJECTIVES, Params, Recipe

USAGE = """Fine-tune a model:
python -m ptts_jax.train.finetune --model=MODEL --corpus=FOLDER --latents=FOLDER --out=FOLDER

--latents is made with the model's own encoder where it does not exist. --frozen=lm/head,lm/text
leaves these parameters as they are; --int8 trains for quantised products.
"""
DEFAULTS = Recipe(
    steps=1000, batch=8, rate=2e-5, warmup=50, decay=0.1, ema=0.99, regress=0.0, guide=0.0
)
WITHOUT = (
    "objective",
    "head_from",
    "regress",
    "guide",
    "guide_later",
    "guide_steps",
    "guide_sigma",
)
FILE = "model.safetensors"


def define(values: flags.FlagValues) -> None:
    text = partial(flags.DEFINE_string, flag_values=values)
    text("model", None, "a released model, a YAML file, or a converted file", required=True)
    flags.DEFINE_list("frozen", [], "paths of parameters, as patterns", flag_values=values)
    lm_options.define(values, DEFAULTS, *WITHOUT)


def run(options: flags.FlagValues) -> None:
    model = tts.load(options.model, quiet=options.quiet)
    c, params = model.config, model.params
    kind = c.flow_lm.flow.type
    _check(model, kind)
    own = lm_options.recipe(options, objective=kind, regress=0.0, guide=0.0)
    corpus = open_corpus(options.corpus)
    _latents(model, corpus, Path(options.latents), options.quiet)
    scale = tuple(np.asarray(params["lm"][name]) for name in ("mean", "std"))
    data = lm_options.read(options, c, model.tokenizer, own, scale)

    def initial(key: Array) -> Params:
        width = c.flow_lm.z_dim or c.flow_lm.transformer.d_model
        extra = lm_stage.extra(key, width, c.mimi.latent_dim)
        return {"lm": jax.tree.map(jnp.asarray, widened(params["lm"])), "extra": extra}

    stage = lm_stage.stage(
        c.flow_lm,
        own,
        initial,
        data.batch,
        fixed=tuple(options.frozen),
        meta={"model": model.name},
    )
    state = lm_options.run(stage, options, own)
    tuned = {**params, "lm": jax.tree.map(np.asarray, state["ema"])}
    weights.save_converted(
        Path(options.out) / FILE,
        tuned,
        c,
        name=f"{model.name}-tuned",
        tokenizer=model.tokenizer.serialized,
        voice_cloning=model.voice_cloning,
    )


def _check(model: tts.TTS, kind: str) -> None:
    c = model.config
    if kind not in OBJECTIVES:
        raise ValueError(f"{model.name}: its head is {kind}, which only distillation can train")
    if any(isinstance(leaf, QTensor) for leaf in flatten(model.params).values()):
        raise ValueError(f"{model.name}: it is quantised; fine-tune the float model")
    if c.mimi.voice_dim != c.mimi.latent_dim:
        raise ValueError(
            f"{model.name}: its encoder gives {c.mimi.voice_dim} numbers a frame and it speaks in "
            f"{c.mimi.latent_dim}: there is nothing to learn from (choose a model with inner_dim "
            f"{c.mimi.latent_dim})"
        )


def _latents(model: tts.TTS, corpus: Corpus, path: Path, quiet: bool) -> None:
    """The corpus in the model's latents, in the folder `path`."""
    own: dict[str, Any] = model.params["codec"]
    if "encoder" not in own or not model.voice_cloning:
        raise ValueError(f"{model.name}: it has no encoder (it cannot clone voices either)")
    crops.check_rate(corpus, model.config.mimi.sample_rate)
    if (path / latents.NAME).exists():
        latents.open_latents(path).check_codec(own["encoder"], model.name)
        return
    latents.encode({"encoder": own["encoder"]}, model.config.mimi, corpus, path, quiet)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
