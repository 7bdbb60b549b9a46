"""A decoder that falls silent, to hear what less precision does to pauses.

`python -m tests.fit_pauses MODEL [STEPS]`: random weights speak without pauses. Here a model's
decoder is fitted for some minutes to say what it said before, but nothing while the latents lie at
one place. The experiment of `python -m int8 report --codec_experiment` with it is printed.
"""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import ptts_jax
from ptts_jax.bench import machine
from ptts_jax.bench.int8 import decoder as experiment
from ptts_jax.bench.int8 import tables
from ptts_jax.engine import startup
from ptts_jax.model import codec
from ptts_jax.model.config import Config

Params = dict[str, Any]

FRAMES = 24  # of an example
LEVEL = 0.01  # mean square of speech
PAUSE_WEIGHT = 30.0


def example(dice: np.random.Generator, place: np.ndarray, frames: int) -> tuple[np.ndarray, ...]:
    """Latents [T, D] in which speech and pauses of 3 to 7 frames take turns, and which is which."""
    latents, speaks = [], []
    turn, latent = bool(dice.integers(2)), dice.standard_normal(place.size)
    while len(latents) < frames:
        for _ in range(dice.integers(3, 8)):
            fresh = dice.standard_normal(place.size)
            latent = 0.5 * latent + 0.87 * fresh
            latents.append(latent if turn else 1.5 * place + 0.05 * fresh)
            speaks.append(float(turn))
        turn = not turn
    return np.array(latents[:frames], np.float32), np.array(speaks[:frames], np.float32)


def losses(
    decoder: Params, teacher: Params, config: Config, lm: Params, latents: Array, speaks: Array
) -> tuple[Array, tuple[Array, Array]]:
    """What to minimise; the mean squares of the error in speech and of what pauses sound like."""
    told = latents[None] * lm["std"] + lm["mean"]
    state = codec.decoder_state(config.mimi, 1)
    wave, target = (
        codec.decode({"decoder": p}, config.mimi, told, state)[0][0] for p in (decoder, teacher)
    )
    settled = jnp.concatenate([jnp.ones(1), speaks[1:] == speaks[:-1]])  # no edges are asked for
    speech, pause = (
        jnp.repeat(part * settled, config.mimi.frame_size) for part in (speaks, 1 - speaks)
    )
    error = jnp.sum(jnp.square(wave - target) * speech) / jnp.maximum(speech.sum(), 1)
    heard = jnp.sum(jnp.square(wave) * pause) / jnp.maximum(pause.sum(), 1)
    # The logarithm goes on pulling when the rest is small.
    total = (error + PAUSE_WEIGHT * heard) / LEVEL + 0.05 * jnp.log(heard + 1e-9)
    return total, (error, heard)


def fit(params: Params, config: Config, steps: int, place: np.ndarray) -> Params:
    """Parameters with a fitted decoder."""
    teacher, lm = params["codec"]["decoder"], params["lm"]
    schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-3, steps // 30, steps, 2e-5)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    loss = partial(losses, teacher=teacher, config=config, lm={k: lm[k] for k in ("std", "mean")})

    @jax.jit
    def step(decoder: Params, state: Any, latents: Array, speaks: Array) -> tuple:
        grads, parts = jax.grad(loss, has_aux=True)(decoder, latents=latents, speaks=speaks)
        updates, state = optimiser.update(grads, state)
        return optax.apply_updates(decoder, updates), state, parts

    dice, decoder, state = np.random.default_rng(0), teacher, optimiser.init(teacher)
    for number in range(steps):
        decoder, state, parts = step(decoder, state, *example(dice, place, FRAMES))
        if number % 100 == 0 or number == steps - 1:
            error, heard = (10 * np.log10(float(part)) for part in parts)
            print(f"{number}: error {error:.1f} dB, pauses {heard:.1f} dB", file=sys.stderr)
    return {**params, "codec": {**params["codec"], "decoder": decoder}}


def main(model: str, steps: str = "1500") -> None:
    startup.use_compilation_cache()
    tts = ptts_jax.load(model)
    dice = np.random.default_rng(1)
    place = dice.standard_normal(tts.config.mimi.latent_dim)
    params = fit(tts.params, tts.config, int(steps), place)
    told, latents = ([example(dice, place, 40)[0] for _ in range(8)] for _ in range(2))
    run = {
        "kind": "codec",
        "model": f"{model} (fitted to fall silent)",
        "command": f"python -m tests.fit_pauses {model} {steps}",
        "machine": machine.machine(),
        "versions": machine.versions(),
        "sampling": {},
        "texts": latents,
        "megabytes": sum(x.nbytes for x in jax.tree.leaves(params)) / 1e6,
        "qualities": list(experiment.qualities(params, tts.config, told, latents)),
        "speeds": [],
    }
    print(tables.document(run))


if __name__ == "__main__":
    main(*sys.argv[1:])
