"""python -m ptts_jax.train.codec: the causal VAE, waveform to latents and back.

First both halves together; then, with --decoder_only, the decoder alone on latents that stay as
they are, so that a language model can be trained on them meanwhile. Flags and files; the training
itself is stage.py's.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jax import Array

from ptts_jax.model import config
from ptts_jax.model.config import MimiConfig
from ptts_jax.model.vocoder_state import FEATURES
from ptts_jax.train.codec import (
    crops,
    discriminator,
    fargan,
    forward,
    latents,
    runs,
    spectra,
    stage,
    told,
)
from ptts_jax.train.codec.crops import Crop
from ptts_jax.train.codec.shapes import SMALL, VOICED
from ptts_jax.train.codec.stage import Params, Recipe
from ptts_jax.train.data.corpus import Clip, Corpus, open_corpus
from ptts_jax.train.run import command, loop, options

USAGE = """Train a codec: python -m ptts_jax.train.codec --corpus=FOLDER --out=FOLDER [FLAGS]

The same command goes on from the last checkpoint. --decoder_only --start=RUN --latents=FOLDER keeps
RUN's encoder and trains the decoder on the latents that it gave. --start takes a model that speaks
as well (a name or a file); what such a model has not kept, how exactly its decoder needs each
dimension of a latent, --posterior_only learns: --steps=500 --rate=3e-3 are enough. --adversarial=1
is for machines with an accelerator.
"""

FLAGS = {
    "rate": "the highest learning rate",
    "kl": "weight of the divergence, per nat of a frame",
    "bf16": "products of bfloat16 inputs",
    "decoder_only": "keep the encoder of --start",
    "posterior_only": "keep both halves of --start, learn the posterior alone",
    "energy": "the energy distance of two random decodes, which does not blur",
    "distill": "weight of a teacher's features, 25 or so",
    "adversarial": "weight of the discriminator; with it come its features",
    "features": "weight of these features",
}
AVERAGED = 200  # clips
WITHOUT = ("warmup", "ema", "noise", "teacher_width", "scales", "windows", "channels")


def validator(
    batches: Callable[[int], crops.Batch], c: MimiConfig, recipe: Recipe
) -> Callable[[loop.State], dict[str, float]]:
    """The averaged parameters' losses on batches of held-out clips, without noise."""

    @jax.jit
    def figures(params: Params, batch: crops.Batch) -> dict[str, Array]:
        wave = batch["wave"]
        latent = batch["latents"] if recipe.decoder_only else None
        z = forward.encode(params["encoder"], c, wave) if latent is None else latent
        if c.vocoder:
            found = forward.features(params["decoder"], c, z)
            parts = told.distances(found, batch["told"].reshape(found.shape))
        else:
            decoded = forward.decode(params["decoder"], c, z)
            parts = stage.reconstruction(decoded, wave, c.sample_rate, recipe.scales)
        total = stage.weighted(parts, recipe.weights)
        return {"heldout": total, **{f"heldout_{name}": v for name, v in parts.items()}}

    def validate(state: loop.State) -> dict[str, float]:
        each = [jax.device_get(figures(state["ema"], batches(i))) for i in range(4)]
        return {name: float(np.mean([f[name] for f in each])) for name in each[0]}

    return validate


def define(values: flags.FlagValues) -> None:
    text = partial(flags.DEFINE_string, flag_values=values)
    options.define(values)
    text("config", None, "a YAML file, or a released model's name: its codec's shape; else small")
    flags.DEFINE_integer("batch", 8, "crops in a batch", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("frames", 16, "frames in a crop", lower_bound=1, flag_values=values)
    text("teacher", None, "the teacher's features of the corpus, kept as latents are")
    text("start", None, "a codec's run, or a model, to start from")
    text("vocoder", None, "the source of Opus 1.5: a codec of 16 kHz that speaks by its FARGAN")
    text("latents", None, "the latents that --start gave, for --decoder_only")
    options.define_recipe(values, Recipe(), FLAGS, WITHOUT)


def run(given: flags.FlagValues) -> None:
    _check(given)
    corpus = open_corpus(given.corpus)
    start, c = runs.start(given.start) if given.start else (None, _config(given))
    crops.check_rate(corpus, c.sample_rate)
    crop = Crop(given.batch, given.frames * c.frame_size)
    windows = (*spectra.SCALES, *(discriminator.SIZES if given.adversarial else ()))
    if not c.vocoder and crop.samples < max(windows):
        least = -(-max(windows) // c.frame_size)
        raise ValueError(f"--frames={given.frames}: too short, take {least} or more")

    known = _known(given, corpus, start)
    recipe = options.recipe(
        given,
        Recipe,
        noise=not (known and known.predicted),
        teacher_width=known.frames.shape[1] if given.teacher else 0,
    )

    if c.vocoder:
        wanted = told.of_corpus(corpus, c.frame_size, Path(given.out), given.quiet)

    def batches(split: str, seed: int) -> Callable[[int], crops.Batch]:
        clips = corpus.select(split=split)
        of_frames = {}
        if known is not None:
            of_frames["latents" if given.latents else "features"] = known.of
        if c.vocoder:
            of_frames["told"] = wanted
        if not of_frames:
            return crops.batches(corpus, clips, crop, seed)
        return crops.frame_batches(corpus, clips, of_frames, crop, c.frame_size, seed)

    training = stage.stage(
        c,
        recipe,
        batches("train", given.seed),
        start=start,
        known=_vocoder(given.vocoder, corpus, wanted) if given.vocoder else None,
        validate=validator(batches("heldout", 0), c, recipe),
    )
    options.launch(training, given)


def _check(given: flags.FlagValues) -> None:
    if given.decoder_only and not (given.start and given.latents):
        raise ValueError("--decoder_only: give --start (a run) and --latents (those it gave)")
    if given.latents and not given.decoder_only:
        raise ValueError("--latents: for --decoder_only alone; both halves make their own")
    if bool(given.distill) != bool(given.teacher):
        raise ValueError("--distill and --teacher go together: give both or neither")
    if given.distill and given.decoder_only:
        raise ValueError("--distill: teaches the encoder, which --decoder_only keeps as it is")
    if given.posterior_only and (given.decoder_only or not given.start):
        raise ValueError("--posterior_only: give --start, whose halves stay, and no --decoder_only")
    if sum(bool(given[name].value) for name in ("start", "config", "vocoder")) > 1:
        raise ValueError("--start, --config and --vocoder: each is a shape; give one of them")


def _config(given: flags.FlagValues) -> MimiConfig:
    name = given.config
    if name is None:
        return VOICED if given.vocoder else SMALL
    if name.endswith((".yaml", ".yml")):
        return config.parse(Path(name).read_text(encoding="utf-8"), name).mimi
    return config.get(name).mimi


def _vocoder(
    source: str, corpus: Corpus, wanted: Callable[[Clip], np.ndarray]
) -> dict[str, Params]:
    """Its weights, and what it is told on average."""
    clips = corpus.select(split="train")[:AVERAGED]
    means = np.concatenate([wanted(clip) for clip in clips]).reshape(-1, FEATURES).mean(0)
    every = np.tile(means, VOICED.vocoder_steps)
    return {"vocoder": fargan.read(source), "features": {"b": every}}


def _known(given: flags.FlagValues, corpus: Corpus, start: Params | None) -> latents.Latents | None:
    """What is known of each frame: its latents, or a teacher's features."""
    if not (given.latents or given.teacher):
        return None
    known = latents.open_latents(given.latents or given.teacher)
    known.check_corpus(corpus)
    if given.latents:
        known.check_codec(start["encoder"], given.start)
        if known.predicted and given.energy:
            raise ValueError(
                "--energy: compares two decodes of noisy latents, and to these, a language "
                "model's, no noise is added; leave it out"
            )
    return known


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)
