"""The ways to drive the step: so many frames in one call of a compiled function.

A driver takes (params, config, state, noise [N, B, D], ...) and gives (state, frames [N, ...]).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ptts_jax.model import generate
from ptts_jax.model.config import Config
from ptts_jax.model.generate import Frame, GenState
from ptts_jax.model.pytree import Params


@dataclass(frozen=True)
class Driver:
    """A jitted function, how many frames a call makes, and what it takes behind the noise."""

    function: Any
    frames: int
    further: tuple[Any, ...] = ()

    def noise(self, size: int) -> np.ndarray:
        """Noise for one call; a frame by itself has no axis of frames."""
        shape = (1, size) if self.function is generate.step else (self.frames, 1, size)
        return np.zeros(shape, np.float32)

    def compiled(self, params: Params, config: Config, state: GenState) -> Callable[..., Any]:
        """The machine code of a call (params, state, noise, further), with its memory's figures."""
        noise = self.noise(config.mimi.latent_dim)
        return self.function.lower(params, config, state, noise, *self.further).compile()


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def _unrolled(
    params: Params, config: Config, state: GenState, noise: Array
) -> tuple[GenState, Frame]:
    """One step behind the other, with no loop in the compiled function."""
    frames = []
    for row in noise:
        state, frame = generate.step(params, config, state, row)
        frames.append(frame)
    return state, jax.tree.map(lambda *each: jnp.stack(each), *frames)


NAMES = ("loop", "fori", "scan", "unrolled")
UNROLLED = 4  # frames, since every one of them is compiled anew


def make(name: str, frames: int) -> Driver:
    """A driver that makes so many frames in a call, or fewer where its kind is made for fewer."""
    return {
        "loop": Driver(generate.step, 1),
        "fori": Driver(generate.several, frames, (np.int32(frames),)),
        "scan": Driver(generate.scan_steps, frames),
        "unrolled": Driver(_unrolled, min(frames, UNROLLED)),
    }[name]
