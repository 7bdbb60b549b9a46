"""The options of a generation: what each may be, and the model's own where none is given.

Knows configs; no texts, voices or arrays.
"""

from ptts_jax.config import Config
from ptts_jax.drivers import Sampling
from ptts_jax.text import ENDLESS, MAX_TOKENS

LONGEST_TAIL = 1000  # frames
NAMES = (
    "temperature",
    "steps",
    "noise_clamp",
    "eos_threshold",
    "frames_after_eos",
    "max_tokens",
)


def check(
    temperature: float | None = None,
    steps: int | None = None,
    noise_clamp: float | None = None,
    eos_threshold: float | None = None,
    frames_after_eos: int | None = None,
    max_tokens: int | None = None,
) -> None:
    """Refuse what no model can use."""
    if temperature is not None and not 0 <= temperature < 100:
        raise ValueError(f"temperature {temperature}: give a number from 0 up (about 0.3)")
    if steps is not None and not 1 <= steps <= 1000:
        raise ValueError(f"steps {steps}: give a whole number from 1 to 1000")
    if noise_clamp is not None and not 0 < noise_clamp < 1e6:
        raise ValueError(f"noise_clamp {noise_clamp}: give a number above 0 (about 2)")
    if eos_threshold is not None and eos_threshold != eos_threshold:
        raise ValueError(f"eos_threshold {eos_threshold}: give a number (about -4)")
    if frames_after_eos is not None and not 0 <= frames_after_eos <= LONGEST_TAIL:
        bounds = f"from 0 to {LONGEST_TAIL}"
        raise ValueError(f"frames_after_eos {frames_after_eos}: give a whole number {bounds}")
    if max_tokens is not None and not 1 <= max_tokens <= ENDLESS:
        bounds = f"from 1 to {ENDLESS} (about {MAX_TOKENS})"
        raise ValueError(f"max_tokens {max_tokens}: give a whole number {bounds}")


def sampling(
    config: Config,
    temperature: float | None,
    steps: int | None,
    noise_clamp: float | None,
    eos_threshold: float | None,
) -> Sampling:
    """How to sample with a model; the options are those of `check`."""
    if temperature is None:
        temperature = config.default_temperature
    if eos_threshold is None:
        eos_threshold = config.default_eos_threshold
    if steps is None:
        steps = 16 if config.flow_lm.flow.type == "flow_matching" else 1
    return Sampling(temperature, int(steps), noise_clamp, max(-1e9, min(eos_threshold, 1e9)))
