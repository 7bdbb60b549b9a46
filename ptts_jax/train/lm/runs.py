"""Language models that are there already: finished runs, and models that speak.

A run's folder holds the tokenizer beside the checkpoint; the checkpoint's meta holds the whole
config of the model as it will speak.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from convert import flatten
from int8 import QTensor
from ptts_jax import tts
from ptts_jax.model import config, schema
from ptts_jax.model.config import Config
from ptts_jax.store.bfloat16 import widened
from ptts_jax.text import Tokenizer
from ptts_jax.train.lm import folding, stage, tokens
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.stage import Params
from ptts_jax.train.run import checkpoint

TOKENIZER = "tokenizer.model"  # beside the checkpoint


def meta(c: Config, encoder: str, recipe: Recipe) -> dict[str, Any]:
    """What `load` needs to know of a run."""
    return {"config": schema.write(c), "encoder": encoder, "recipe": dataclasses.asdict(recipe)}


def load(folder: Path, *, plain: bool = False) -> tuple[Params, Config, Tokenizer, dict[str, Any]]:
    """(averaged parameters of the model as it speaks, config, tokenizer, meta) of a run.

    `plain` puts the regression beside the head in the place of the head.
    """
    state, about = _checkpoint(folder, str(folder))
    c = config.build(about["config"], str(folder))
    tokenizer = tokens.load(folder / TOKENIZER, c.flow_lm.lookup_table.n_bins)
    if plain:
        head, flow = folding.regression(jnp.asarray(state["trained"]["extra"]["regress"]))
        flow_lm = dataclasses.replace(c.flow_lm, flow=flow)
        params = {**state["ema"], "head": head}
    else:
        params, flow_lm = stage.deployed(state["ema"], c.flow_lm, Recipe(**about["recipe"]))
    return params, dataclasses.replace(c, flow_lm=flow_lm), tokenizer, about


def _checkpoint(folder: Path, name: str) -> tuple[Params, dict[str, Any]]:
    state, _, about = checkpoint.load(folder)
    if "config" not in about:
        raise ValueError(f"{name}: not the run of a language model; give the folder of one")
    return state, about


@dataclass(frozen=True)
class Start:
    """What a run begins with."""

    name: str
    params: Params  # "lm", and "extra" as far as it is known
    tokenizer: Tokenizer


def start(name: str) -> Start:
    """A run by its averaged parameters, or a model that speaks."""
    folder, flag = Path(name), f"--start={name}"
    if folder.is_dir():
        state, _ = _checkpoint(folder, flag)
        tokenizer = tokens.parse((folder / TOKENIZER).read_bytes(), name)
        return Start(name, {**state["trained"], "lm": state["ema"]}, tokenizer)
    model = tts.load(name)
    check_float(model, flag)
    params, extra = widened(model.params["lm"]), {}
    w = folding.regression_of(params["head"], model.config.flow_lm.flow)
    if w is not None:  # it spoke by its regression and has no other head
        params.pop("head")
        extra["regress"] = w
    return Start(name, {"lm": params, "extra": extra}, model.tokenizer)


def check_float(model: tts.TTS, name: str) -> None:
    """Refuse a quantised model: its weights have no gradient."""
    if any(isinstance(leaf, QTensor) for leaf in flatten(model.params["lm"]).values()):
        raise ValueError(f"{name}: it is quantised; train the float model")
