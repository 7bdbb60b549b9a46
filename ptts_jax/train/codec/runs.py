"""Codecs that are there already: that of a finished run, and that of a model that speaks."""

from pathlib import Path

from int8 import dequantized
from ptts_jax import tts
from ptts_jax.model import schema
from ptts_jax.model.config import MimiConfig
from ptts_jax.model.pytree import Params
from ptts_jax.store.bfloat16 import widened
from ptts_jax.train.run import checkpoint


def load(folder: Path) -> tuple[Params, MimiConfig, int]:
    """(averaged parameters, config, step) of a run's checkpoint."""
    state, step, meta = checkpoint.load(folder)
    if "mimi" not in meta:
        raise ValueError(f"{folder}: not the run of a codec; give the folder of one")
    problems: list[str] = []
    c = schema.read(MimiConfig, meta["mimi"], "mimi", problems)
    if problems:
        raise ValueError(f"{folder}: {problems[0]}")
    return state["ema"], c, step


def start(name: str) -> tuple[Params, MimiConfig]:
    """What a run begins with: another run's parameters, or a model's, which has no posterior."""
    if Path(name).is_dir():
        return load(Path(name))[:2]
    return of_model(tts.load(name), f"--start={name}")


def of_model(model: tts.TTS, name: str) -> tuple[Params, MimiConfig]:
    """Both halves of a model's codec, if its encoder gives the latents that it speaks in."""
    c, params = model.config.mimi, widened(dequantized(model.params["codec"]))
    if "encoder" not in params or not model.voice_cloning:
        raise ValueError(f"{name}: it has no encoder (it cannot clone voices either)")
    if c.voice_dim != c.latent_dim:
        raise ValueError(
            f"{name}: its encoder gives {c.voice_dim} numbers a frame and it speaks in "
            f"{c.latent_dim}: there is nothing to learn from (choose a model with inner_dim "
            f"{c.latent_dim})"
        )
    return params, c
