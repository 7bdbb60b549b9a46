"""A model that says a moment of noise to any text: for tests of what stands around it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptts_jax.engine.loops import Latent
from ptts_jax.engine.scheduler import Made


class QuickModel:
    """Implements scheduler.Model: two frames for each chunk."""

    def open(self, chunk: Any) -> Any:
        return chunk

    def read(self, row: Any) -> Made:
        return Made([_frame(row)], False)

    def step(self, rows: Sequence[Any], count: int) -> list[Made]:
        return [Made([_frame(row)], True) for row in rows]

    def close(self, row: Any) -> None: ...

    def warm(self, chunk: Any, slots: int) -> None: ...


def _frame(chunk: Any) -> Latent:
    seen = np.zeros((len(chunk.heads), len(chunk.job.tokens)), np.float32)
    return Latent(np.zeros(1, np.float32), seen if chunk.heads else None)


def decode_block(params: Any, config: Any, state: Any, block: np.ndarray) -> tuple[None, Any]:
    """In the place of loops.decode_block: noise."""
    shape = block.shape[0], block.shape[1] * config.mimi.frame_size
    return None, np.random.default_rng(0).uniform(-0.1, 0.1, shape).astype(np.float32)
