"""python -m ptts_jax.train.codec: the causal VAE, waveform to latents and back.

First both halves together; then, with --decoder_only, the decoder alone on latents that stay as
they are, so that a language model can be trained on them meanwhile.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from jax import Array

from ptts_jax import codec, config, schema
from ptts_jax.config import CodecTransformerConfig, MimiConfig, QuantizerConfig, SEANetConfig
from ptts_jax.train import checkpoint, command, crops, forward, loop, optim, spectra
from ptts_jax.train.corpus import Corpus, open_corpus
from ptts_jax.train.crops import Crop

USAGE = """Train a codec: python -m ptts_jax.train.codec --corpus=FOLDER --out=FOLDER [FLAGS]

The same command goes on from the last checkpoint. --decoder_only --start=RUN --latents=FOLDER keeps
RUN's encoder and trains the decoder on the latents that it gave.
"""
WEIGHTS = {"log": 1.0, "linear": 1.0, "mel": 2.0, "wave": 2.0, "kl": 0.005}

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
    decoder_transformer=CodecTransformerConfig(
        **{**vars(_TRANSFORMER), "num_layers": 4},
    ),
)

Params = dict[str, Any]


def init(key: Array, c: MimiConfig) -> Params:
    """Fresh parameters of both halves, and the posterior's log-variance per dimension."""
    keys = jax.random.split(key)
    wave, latents = jnp.zeros((1, c.frame_size)), jnp.zeros((1, 1, c.latent_dim))
    encoder = codec.Encoder(c).init(keys[0], wave, codec.encoder_state(c, 1))
    decoder = codec.Decoder(c).init(keys[1], latents, codec.decoder_state(c, 1))
    return {
        "encoder": encoder["params"],
        "decoder": decoder["params"],
        "log_variance": jnp.full((c.latent_dim,), -3.0),
    }


def kl(mean: Array, log_variance: Array) -> Array:
    """To the standard normal, summed over the dimensions of a frame, mean over frames."""
    parts = jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance
    return 0.5 * jnp.mean(jnp.sum(parts, axis=-1))


def sampled(mean: Array, log_variance: Array, key: Array) -> Array:
    noise = jax.random.normal(key, mean.shape)
    return mean + jnp.exp(0.5 * log_variance) * noise


def reconstruction(wave: Array, target: Array, rate: int) -> dict[str, Array]:
    """Every distance between what was decoded and what it should be, unweighted."""
    found = spectra.distances(wave, target, rate)
    return found | {"wave": jnp.mean(jnp.abs(wave - target))}


def weighted(parts: dict[str, Array]) -> Array:
    return sum(WEIGHTS[name] * value for name, value in parts.items())


def losses(params: Params, c: MimiConfig, batch: Any, key: Array, half: bool) -> dict[str, Array]:
    """Of both halves on {"wave": [B, T]}."""
    mean = forward.encode(params["encoder"], c, batch["wave"], half)
    z = sampled(mean, params["log_variance"], key)
    wave = forward.decode(params["decoder"], c, z, half)
    parts = reconstruction(wave, batch["wave"], c.sample_rate)
    return parts | {"kl": kl(mean, params["log_variance"])}


def decoder_losses(
    params: Params, c: MimiConfig, batch: Any, key: Array, half: bool
) -> dict[str, Array]:
    """Of the decoder alone on {"wave": [B, T], "latents": [B, T', D]}."""
    fixed = jax.lax.stop_gradient(params["log_variance"])
    wave = forward.decode(params["decoder"], c, sampled(batch["latents"], fixed, key), half)
    return reconstruction(wave, batch["wave"], c.sample_rate)


def stage(
    c: MimiConfig,
    batch: Any,
    *,
    steps: int,
    rate: float,
    warmup: int = 200,
    half: bool = False,
    ema: float = 0.998,
    start: Params | None = None,
    validate: Any = None,
) -> loop.Stage:
    """Both halves from scratch, or, from the parameters `start`, the decoder alone."""
    objective = losses if start is None else decoder_losses
    trained = ("encoder", "decoder", "log_variance") if start is None else ("decoder",)
    tx = optim.adamw(optim.schedule(rate, steps, warmup), betas=(0.8, 0.99))

    def begin(key: Array) -> loop.State:
        params = init(key, c) if start is None else jax.tree.map(jnp.asarray, start)
        moving = {name: params[name] for name in trained}
        return {"params": params, "ema": params, "opt": tx.init(moving)}

    def update(state: loop.State, batch: Any, key: Array, step: Array) -> tuple:
        fixed = {name: p for name, p in state["params"].items() if name not in trained}
        moving = {name: state["params"][name] for name in trained}

        def total(moving: Params) -> tuple[Array, dict[str, Array]]:
            parts = objective({**fixed, **moving}, c, batch, key, half)
            return weighted(parts), parts

        (loss, parts), grads = jax.value_and_grad(total, has_aux=True)(moving)
        updates, opt = tx.update(grads, state["opt"], moving)
        moving = optax.apply_updates(moving, updates)
        mean = {name: state["ema"][name] for name in trained}
        mean = optim.average(mean, moving, step, ema)
        params = {**fixed, **moving}
        figures = {"loss": loss, **parts}
        return {"params": params, "ema": {**fixed, **mean}, "opt": opt}, figures

    meta = {"mimi": schema.write(c)}
    return loop.Stage("codec", begin, update, batch, validate, meta)


def load(out: Path) -> tuple[Params, MimiConfig, int]:
    """(averaged parameters, config, step) of a run's checkpoint."""
    state, step, meta = checkpoint.load(out)
    if "mimi" not in meta:
        raise ValueError(f"{out}: not the run of a codec; give the folder of one")
    problems: list[str] = []
    c = schema.read(MimiConfig, meta["mimi"], "mimi", problems)
    if problems:
        raise ValueError(f"{out}: {problems[0]}")
    return state["ema"], c, step


def validator(corpus: Corpus, c: MimiConfig, crop: Crop) -> Any:
    """The averaged parameters' losses on crops of held-out clips, without noise."""
    waves = crops.batches(corpus, corpus.select(split="heldout"), crop, seed=0)

    @jax.jit
    def figures(params: Params, wave: Array) -> dict[str, Array]:
        decoded = forward.decode(params["decoder"], c, forward.encode(params["encoder"], c, wave))
        parts = reconstruction(decoded, wave, c.sample_rate)
        return {"heldout": weighted(parts), **{f"heldout_{k}": v for k, v in parts.items()}}

    def validate(state: loop.State, step: int) -> dict[str, float]:
        del step
        found = [jax.device_get(figures(state["ema"], waves(i)["wave"])) for i in range(4)]
        return {name: float(np.mean([f[name] for f in found])) for name in found[0]}

    return validate


def define(values: flags.FlagValues) -> None:
    text = partial(flags.DEFINE_string, flag_values=values)
    whole = partial(flags.DEFINE_integer, flag_values=values)
    number = partial(flags.DEFINE_float, flag_values=values)
    text("corpus", None, "the corpus to train on", required=True)
    text("out", None, "the folder of this run", required=True)
    text("config", None, "a YAML file, or a released model's name: its codec's shape; else small")
    whole("steps", 6000, "steps in all", lower_bound=1)
    whole("seed", 0, "of everything random")
    whole("batch", 8, "crops in a batch", lower_bound=1)
    whole("frames", 16, "latent frames in a crop", lower_bound=4)
    number("rate", 1e-3, "the highest learning rate", lower_bound=0)
    number("save_minutes", 5, "between checkpoints", lower_bound=0)
    flags.DEFINE_bool("bf16", False, "products of bfloat16 inputs", flag_values=values)
    flags.DEFINE_bool("decoder_only", False, "keep --start's encoder", flag_values=values)
    text("start", None, "a codec's run to start from, for --decoder_only")
    text("latents", None, "its latents of the corpus, for --decoder_only")
    flags.DEFINE_bool("quiet", False, "no progress", flag_values=values)


def _config(name: str | None) -> MimiConfig:
    if name is None:
        return SMALL
    if name.endswith((".yaml", ".yml")):
        return config.parse(Path(name).read_text(), name).mimi
    return config.get(name).mimi


def check_rate(corpus: Corpus, c: MimiConfig) -> None:
    if corpus.sample_rate != c.sample_rate:
        rates = f"{corpus.sample_rate} Hz, the codec {c.sample_rate} Hz"
        raise ValueError(f"{corpus.path}: the corpus has {rates}; make one at its rate")


def run(options: flags.FlagValues) -> None:
    corpus = open_corpus(options.corpus)
    start = None
    if options.decoder_only:
        if not options.start or not options.latents:
            raise ValueError("--decoder_only needs --start and --latents")
        start, c, _ = load(Path(options.start))
    else:
        c = _config(options.config)
    check_rate(corpus, c)
    clips = corpus.select(split="train")
    crop = Crop(options.batch, options.frames * c.frame_size)
    if start is None:
        batch = crops.batches(corpus, clips, crop, options.seed)
    else:
        from ptts_jax.train.latents import open_latents

        kept = open_latents(options.latents)
        kept.check_codec(start["encoder"], options.start)
        batch = crops.frame_batches(corpus, clips, kept.of, crop, c.frame_size, options.seed)
    made = stage(
        c,
        batch,
        steps=options.steps,
        rate=options.rate,
        half=options.bf16,
        start=start,
        validate=validator(corpus, c, crop),
    )
    loop.run(
        made,
        out=Path(options.out),
        steps=options.steps,
        seed=options.seed,
        save_minutes=options.save_minutes,
        quiet=options.quiet,
    )


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
