"""The codec as a training stage: its losses and its update, both halves or the decoder alone.

Knows arrays and configs; corpora and flags are the command's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ptts_jax.model import codec, schema
from ptts_jax.model.config import MimiConfig
from ptts_jax.model.pytree import Params
from ptts_jax.train.codec import discriminator, forward, spectra, told
from ptts_jax.train.run import loop, optim

Parts = dict[str, Array]
POSTERIOR_RATE = 10.0  # of the learning rate: each log-variance is a number with a way to go
SPECTRAL = {"log": 1.0, "linear": 1.0, "mel": 2.0, "wave": 2.0}  # weights


@dataclass(frozen=True)
class Recipe:
    """How to train; every weight of a loss that is 0 leaves that loss out."""

    steps: int = 6000
    rate: float = 1e-3
    warmup: int = 200
    kl: float = 0.002  # per nat of a frame
    ema: float = 0.998
    bf16: bool = False  # products of bfloat16 inputs
    decoder_only: bool = False
    posterior_only: bool = False  # how exactly the decoder needs each dimension of a latent
    noise: bool = True  # of the posterior, on what is decoded
    energy: bool = False  # two random decodes and the energy distance between the three
    distill: float = 0.0
    teacher_width: int = 0
    adversarial: float = 0.0
    features: float = 2.0  # beside `adversarial`
    scales: tuple[int, ...] = spectra.SCALES
    windows: tuple[int, ...] = discriminator.SIZES
    channels: int = discriminator.CHANNELS

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the parameters that move."""
        if self.decoder_only:
            return ("decoder",)
        if self.posterior_only:
            return ("log_variance",)
        projection = ("projection",) if self.distill else ()
        return ("encoder", "decoder", "log_variance", *projection)

    @property
    def weights(self) -> dict[str, float]:
        adversary = {"adversarial": self.adversarial, "features": self.features}
        known = {**SPECTRAL, **told.WEIGHTS, "kl": self.kl, "distill": self.distill}
        return {**known, **adversary}


def init(key: Array, c: MimiConfig, recipe: Recipe) -> Params:
    """Fresh parameters of both halves, and the posterior's log-variance per dimension."""
    keys = jax.random.split(key, 3)
    wave, latents = jnp.zeros((1, c.frame_size)), jnp.zeros((1, 1, c.latent_dim))
    encoder = codec.Encoder(c).init(keys[0], wave, codec.encoder_state(c, 1))
    decoder = codec.Decoder(c).init(keys[1], latents, codec.decoder_state(c, 1))
    params = {
        "encoder": encoder["params"],
        "decoder": decoder["params"],
        "log_variance": jnp.full((c.latent_dim,), -3.0),
    }
    if recipe.distill:
        shape = (c.latent_dim, recipe.teacher_width)
        params["projection"] = jax.random.normal(keys[2], shape) * c.latent_dim**-0.5
    return params


def kl(mean: Array, log_variance: Array) -> Array:
    """To the standard normal, summed over the dimensions of a frame, mean over frames."""
    parts = jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance
    return 0.5 * jnp.mean(jnp.sum(parts, axis=-1))


def sampled(mean: Array, log_variance: Array, key: Array) -> Array:
    return mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)


def cosine_distance(mean: Array, projection: Array, features: Array) -> Array:
    """1 - cos of the projected latents and a teacher's features [B, T, F], mean over frames."""
    guess = mean @ projection
    norms = jnp.linalg.norm(guess, axis=-1) * jnp.linalg.norm(features, axis=-1)
    return jnp.mean(1 - jnp.sum(guess * features, axis=-1) / (norms + 1e-6))


def reconstruction(wave: Array, target: Array, rate: int, scales: tuple[int, ...]) -> Parts:
    """Every distance between what was decoded and what it should be, unweighted."""
    found = spectra.distances(wave, target, rate, scales)
    return found | {"wave": jnp.mean(jnp.abs(wave - target))}


def weighted(parts: Parts, weights: dict[str, float]) -> Array:
    return sum(weights[name] * value for name, value in parts.items())


def losses(
    params: Params, c: MimiConfig, recipe: Recipe, batch: Any, key: Array
) -> tuple[Parts, Array]:
    """(unweighted losses, what was decoded [B, T]) of a batch.

    {"wave": [B, T]}, with "latents" [B, T', D] if the decoder alone is trained, "features"
    [B, T', F] to distil, and "told" [B, T', F] for a codec with a vocoder, which is not run.
    """
    target, keys = batch["wave"], jax.random.split(key)
    if recipe.decoder_only:
        mean, spread = batch["latents"], jax.lax.stop_gradient(params["log_variance"])
        parts = {}
    else:
        mean = forward.encode(params["encoder"], c, target, recipe.bf16)
        spread = params["log_variance"]
        parts = {"kl": kl(mean, spread)}
    if recipe.distill:
        parts["distill"] = cosine_distance(mean, params["projection"], batch["features"])
    z = sampled(mean, spread, keys[0]) if recipe.noise else mean
    if c.vocoder:
        found = forward.features(params["decoder"], c, z, recipe.bf16)
        wanted = batch["told"].reshape(found.shape)
        return parts | told.distances(found, wanted), target
    wave = forward.decode(params["decoder"], c, z, recipe.bf16)
    if recipe.energy:
        z = sampled(mean, spread, keys[1])
        other = forward.decode(params["decoder"], c, z, recipe.bf16)
        parts |= spectra.energy(wave, other, target, c.sample_rate, recipe.scales)
    else:
        parts |= reconstruction(wave, target, c.sample_rate, recipe.scales)
    return parts, wave


def stage(
    c: MimiConfig,
    recipe: Recipe,
    batch: Callable[[int], Any],
    *,
    start: Params | None = None,
    known: Params | None = None,
    validate: Any = None,
) -> loop.Stage:
    """From scratch, but for the parts of the decoder that are `known`; or from `start`."""

    def optimiser(steps: int | Array) -> optax.GradientTransformation:
        rates = optim.schedule(recipe.rate, steps, recipe.warmup)
        tx = optax.chain(optim.adamw(rates, betas=(0.8, 0.99)), optax.stateless(_quicker_posterior))
        # No gradient reaches a vocoder, but the decay would.
        idle = c.vocoder and "decoder" in recipe.trained
        return optim.frozen(tx, ("decoder/vocoder/",)) if idle else tx

    def begin(key: Array) -> loop.State:
        fresh = init(key, c, recipe)
        params = fresh if start is None else {**fresh, **jax.tree.map(jnp.asarray, start)}
        if known is not None:
            parts = {
                name: {**params["decoder"][name], **jax.tree.map(jnp.asarray, part)}
                for name, part in known.items()
            }
            params = {**params, "decoder": {**params["decoder"], **parts}}
        tx = optimiser(recipe.steps)
        state = {"params": params, "ema": params, "opt": tx.init(_of(params, recipe.trained))}
        if recipe.adversarial:
            judge = discriminator.init(jax.random.fold_in(key, 1), recipe.windows, recipe.channels)
            state |= {"judge": judge, "judge_opt": tx.init(judge)}
        return state

    def update(state: loop.State, batch: Any, key: Array, progress: loop.Progress) -> tuple:
        params, tx = state["params"], optimiser(progress.steps)

        def total(moving: Params) -> tuple[Array, tuple[Parts, Array]]:
            parts, wave = losses({**params, **moving}, c, recipe, batch, key)
            if recipe.adversarial:
                real = discriminator.judge(state["judge"], batch["wave"])
                fake = discriminator.judge(state["judge"], wave)
                parts["adversarial"] = discriminator.generator_loss(fake)
                parts["features"] = discriminator.feature_loss(real, fake)
            return weighted(parts, recipe.weights), (parts, wave)

        moving = _of(params, recipe.trained)
        (loss, (parts, wave)), grads = jax.value_and_grad(total, has_aux=True)(moving)
        updates, opt = tx.update(grads, state["opt"], moving)
        moving = optax.apply_updates(moving, updates)
        mean = optim.average(_of(state["ema"], recipe.trained), moving, progress.step, recipe.ema)
        new = {"params": {**params, **moving}, "ema": {**state["ema"], **mean}, "opt": opt}
        figures = {"loss": loss, **parts}
        if recipe.adversarial:
            judged, figures["judge"] = judge_update(tx, state, batch["wave"], wave)
            new |= judged
        return new, figures

    return loop.Stage("codec", begin, update, batch, validate, {"mimi": schema.write(c)})


def _quicker_posterior(updates: Params, params: Params | None) -> Params:
    del params
    if "log_variance" not in updates:
        return updates
    return {**updates, "log_variance": POSTERIOR_RATE * updates["log_variance"]}


def judge_update(
    tx: optax.GradientTransformation, state: loop.State, real: Array, fake: Array
) -> tuple[dict[str, Any], Array]:
    """One step of the discriminator: (its new "judge" and "judge_opt", its loss)."""

    def total(judge: Params) -> Array:
        judged = (discriminator.judge(judge, wave) for wave in (real, fake))
        return discriminator.discriminator_loss(*judged)

    loss, grads = jax.value_and_grad(total)(state["judge"])
    updates, opt = tx.update(grads, state["judge_opt"], state["judge"])
    return {"judge": optax.apply_updates(state["judge"], updates), "judge_opt": opt}, loss


def _of(params: Params, names: tuple[str, ...]) -> Params:
    return {name: params[name] for name in names}
