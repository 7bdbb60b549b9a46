"""python -m ptts_jax.train.codec: the causal VAE, waveform to latents and back.

First both halves together; then, with --decoder_only, the decoder alone on latents that stay as
they are, so that a language model can be trained on them meanwhile. Flags and files; the training
itself is codec_stage's.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jax import Array

from ptts_jax import config, tts
from ptts_jax.config import CodecTransformerConfig, MimiConfig, QuantizerConfig, SEANetConfig
from ptts_jax.halves import widened
from ptts_jax.train import (
    codec_stage,
    command,
    crops,
    discriminator,
    forward,
    latents,
    loop,
    spectra,
)
from ptts_jax.train.codec_stage import Params, Recipe, load
from ptts_jax.train.corpus import Corpus, open_corpus
from ptts_jax.train.crops import Crop

USAGE = """Train a codec: python -m ptts_jax.train.codec --corpus=FOLDER --out=FOLDER [FLAGS]

The same command goes on from the last checkpoint. --decoder_only --start=RUN --latents=FOLDER keeps
RUN's encoder and trains the decoder on the latents that it gave. --start takes a model that speaks
as well (a name or a file); what such a model has not kept, how exactly its decoder needs each
dimension of a latent, --posterior_only learns: --steps=500 --rate=3e-3 are enough. --adversarial=1
is for machines with an accelerator.
"""

_SEANET = SEANetConfig(
    dimension=128,
    channels=1,
    n_filters=16,
    n_residual_layers=1,
    ratios=(5, 4, 4),
    kernel_size=7,
    residual_kernel_size=3,
    last_kernel_size=3,
    dilation_base=2,
    pad_mode="constant",
    compress=2,
)
_TRANSFORMER = CodecTransformerConfig(
    d_model=128,
    input_dimension=128,
    output_dimensions=(128,),
    num_heads=4,
    num_layers=1,
    layer_scale=0.1,
    context=64,
    dim_feedforward=512,
)
SMALL = MimiConfig(
    dtype="float32",
    sample_rate=16000,
    channels=1,
    frame_rate=12.5,
    seanet=_SEANET,
    transformer=_TRANSFORMER,
    quantizer=QuantizerConfig(dimension=32, output_dimension=128),
    inner_dim=32,
    outer_dim=128,
    decoder_seanet=_SEANET,
    decoder_transformer=replace(_TRANSFORMER, num_layers=4),
)


def validator(
    batches: Callable[[int], crops.Batch], c: MimiConfig, recipe: Recipe
) -> Callable[[loop.State, int], dict[str, float]]:
    """The averaged parameters' losses on batches of held-out clips, without noise."""

    @jax.jit
    def figures(params: Params, batch: crops.Batch) -> dict[str, Array]:
        wave = batch["wave"]
        known = batch["latents"] if recipe.decoder_only else None
        z = forward.encode(params["encoder"], c, wave) if known is None else known
        decoded = forward.decode(params["decoder"], c, z)
        parts = codec_stage.reconstruction(decoded, wave, c.sample_rate, recipe.scales)
        total = codec_stage.weighted(parts, recipe.weights)
        return {"heldout": total, **{f"heldout_{name}": v for name, v in parts.items()}}

    def validate(state: loop.State, step: int) -> dict[str, float]:
        del step
        found = [jax.device_get(figures(state["ema"], batches(i))) for i in range(4)]
        return {name: float(np.mean([f[name] for f in found])) for name in found[0]}

    return validate


def define(values: flags.FlagValues) -> None:
    text = partial(flags.DEFINE_string, flag_values=values)
    whole = partial(flags.DEFINE_integer, flag_values=values)
    number = partial(flags.DEFINE_float, flag_values=values, lower_bound=0)
    switch = partial(flags.DEFINE_bool, flag_values=values)
    text("corpus", None, "the corpus to train on", required=True)
    text("out", None, "the folder of this run", required=True)
    text("config", None, "a YAML file, or a released model's name: its codec's shape; else small")
    whole("steps", 6000, "steps in all", lower_bound=1)
    whole("seed", 0, "of everything random")
    whole("batch", 8, "crops in a batch", lower_bound=1)
    whole("frames", 16, "latent frames in a crop", lower_bound=1)
    number("rate", 1e-3, "the highest learning rate")
    number("kl", 0.002, "weight of the divergence, per nat of a frame")
    switch("energy", False, "the energy distance of two random decodes, which does not blur")
    number("adversarial", 0, "weight of the discriminator; with it come its features")
    number("features", 2, "weight of these features")
    number("distill", 0, "weight of a teacher's features, 25 or so")
    text("teacher", None, "the teacher's features of the corpus, kept as latents are")
    text("start", None, "a codec's run, or a model, to start from")
    switch("decoder_only", False, "keep the encoder of --start")
    switch("posterior_only", False, "keep both halves of --start, learn the posterior alone")
    text("latents", None, "the latents that --start gave, for --decoder_only")
    switch("bf16", False, "products of bfloat16 inputs")
    number("save_minutes", 5, "between checkpoints")
    switch("quiet", False, "no progress")


def run(options: flags.FlagValues) -> None:
    _check(options)
    corpus, c, start = open_corpus(options.corpus), _config(options.config), None
    if options.start:
        start, c = started(options.start)
    crops.check_rate(corpus, c.sample_rate)
    crop = Crop(options.batch, options.frames * c.frame_size)
    windows = (*spectra.SCALES, *(discriminator.SIZES if options.adversarial else ()))
    if crop.samples < max(windows):
        least = -(-max(windows) // c.frame_size)
        raise ValueError(f"--frames={options.frames}: too short, take {least} or more")

    kept = _beside(options, corpus, start)
    recipe = Recipe(
        steps=options.steps,
        rate=options.rate,
        kl=options.kl,
        half=options.bf16,
        decoder_only=options.decoder_only,
        posterior_only=options.posterior_only,
        noise=not (kept and kept.predicted),
        energy=options.energy,
        distill=options.distill,
        teacher_width=kept.frames.shape[1] if options.teacher else 0,
        adversarial=options.adversarial,
        features=options.features,
    )
    batches = partial(_batches, corpus, kept, "latents" if options.latents else "features", crop)
    validate = validator(batches(c.frame_size, "heldout", 0), c, recipe)
    loop.run(
        codec_stage.stage(
            c,
            recipe,
            batches(c.frame_size, "train", options.seed),
            start=start,
            validate=validate,
        ),
        out=Path(options.out),
        steps=options.steps,
        seed=options.seed,
        save_minutes=options.save_minutes,
        quiet=options.quiet,
    )


def _check(options: flags.FlagValues) -> None:
    if options.decoder_only and not (options.start and options.latents):
        raise ValueError("--decoder_only: give --start (a run) and --latents (those it gave)")
    if options.latents and not options.decoder_only:
        raise ValueError("--latents: for --decoder_only alone; both halves make their own")
    if bool(options.distill) != bool(options.teacher):
        raise ValueError("--distill and --teacher go together: give both or neither")
    if options.distill and options.decoder_only:
        raise ValueError("--distill: teaches the encoder, which --decoder_only keeps as it is")
    if options.posterior_only and (options.decoder_only or not options.start):
        raise ValueError("--posterior_only: give --start, whose halves stay, and no --decoder_only")
    if options.start and options.config:
        raise ValueError("--config: --start has its own shape; give one of them")


def started(name: str) -> tuple[Params, MimiConfig]:
    """What a run begins with: another run's parameters, or a model's, which has no posterior."""
    if Path(name).is_dir():
        return load(Path(name))[:2]
    model = tts.load(name)
    c, own = model.config.mimi, widened(model.params["codec"])
    if "encoder" not in own or not model.voice_cloning:
        raise ValueError(f"--start={name}: it has no encoder (it cannot clone voices either)")
    if c.voice_dim != c.latent_dim:
        raise ValueError(
            f"--start={name}: its encoder gives {c.voice_dim} numbers a frame and its decoder "
            f"takes {c.latent_dim}: no pair; choose a model with inner_dim {c.latent_dim}"
        )
    return own, c


def _config(name: str | None) -> MimiConfig:
    if name is None:
        return SMALL
    if name.endswith((".yaml", ".yml")):
        return config.parse(Path(name).read_text(encoding="utf-8"), name).mimi
    return config.get(name).mimi


def _beside(
    options: flags.FlagValues, corpus: Corpus, start: Params | None
) -> latents.Latents | None:
    """What is known of each frame: its latents, or a teacher's features."""
    if not (options.latents or options.teacher):
        return None
    kept = latents.open_latents(options.latents or options.teacher)
    kept.check_corpus(corpus)
    if options.latents:
        kept.check_codec(start["encoder"], options.start)
        if kept.predicted and options.energy:
            raise ValueError(
                "--energy: compares two decodes of noisy latents, and to these, a language "
                "model's, no noise is added; leave it out"
            )
    return kept


def _batches(
    corpus: Corpus,
    kept: latents.Latents | None,
    name: str,
    crop: Crop,
    frame: int,
    split: str,
    seed: int,
) -> Callable[[int], crops.Batch]:
    """Those of a split, with what is `kept` of the frames under this name."""
    clips = corpus.select(split=split)
    if kept is None:
        return crops.batches(corpus, clips, crop, seed)
    return crops.frame_batches(corpus, clips, {name: kept.of}, crop, frame, seed)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
