"""The frames that every other way to drive the step must give."""

import numpy as np
import pytest

from tests.support.generation import JOBS, VOICES, spoken


@pytest.fixture(scope="module")
def streamed() -> list[list[np.ndarray]]:
    """Latents of each row, made frame by frame and alone."""
    return [spoken(*pair) for pair in zip(VOICES, JOBS, strict=True)]
