"""What is asked of the engine: the options of a generation, the jobs and the noise that follow.

Every way in (command, Python, server) makes its options from the fields of `Options`, and has
their checks from there. Knows configs and texts; no voices, parameters or devices.
"""

import operator
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args

import numpy as np

from ptts_jax import text as texts
from ptts_jax.model.config import Config
from ptts_jax.model.schema import near
from ptts_jax.text.mapped import Mapped
from ptts_jax.text.placing import Placed, place

MOST_STEPS = 1000
LONGEST_TAIL = 1000  # frames
MOST_TRIES = 8  # of a chunk at once


_BOUNDS: dict[str, Callable[[Any, Any], bool]] = {  # as JSON Schema calls them
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}


def _option(help: str, range: str = "", bounds: dict[str, float] | None = None) -> Any:
    about = {"help": help, "range": range, "bounds": bounds or {}}
    return field(default=None, metadata=about)


def _from_to(least: int, most: int, help: str, about: str = "") -> Any:
    bounds = {"minimum": least, "maximum": most}
    return _option(help, f" from {least} to {most}{about}", bounds)


@dataclass(frozen=True)
class Options:
    """How to speak. What is None is left to the model (a seed: to chance)."""

    seed: int | None = _option(
        "the same seed gives the same speech; another one each time if not given"
    )
    temperature: float | None = _option(
        "variance of the noise, 0 for none; the model's, about 0.3, if not given",
        " from 0 up (about 0.3)",
        {"minimum": 0, "exclusiveMaximum": 100},
    )
    steps: int | None = _from_to(
        1, MOST_STEPS, "sampling steps per frame; the model's, mostly 1, if not given"
    )
    noise_clamp: float | None = _option(
        "cut the noise at this value, about 2; not cut if not given",
        " above 0 (about 2)",
        {"exclusiveMinimum": 0, "exclusiveMaximum": 1e6},
    )
    eos_threshold: float | None = _option(
        "higher ends later; the model's, about -4, if not given", " (about -4)"
    )
    frames_after_eos: int | None = _from_to(
        0, LONGEST_TAIL, "frames (80 ms) to go on after the end; the model's if not given"
    )
    max_tokens: int | None = _from_to(
        1,
        texts.ENDLESS,
        "tokens per chunk of a long text; what the model is good at if not given",
        f" (about {texts.MAX_TOKENS})",
    )
    best_of: int | None = _from_to(
        1,
        MOST_TRIES,
        "say each chunk so many times at once, and keep the one that follows the text best",
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not None:
                object.__setattr__(self, option.name, _checked(option, value))

    @classmethod
    def of(cls, named: dict[str, Any]) -> "Options":
        """Options from keyword arguments, or from the fields of a request."""
        for name in named.keys() - {option.name for option in fields(cls)}:
            hint = near(name, [option.name for option in fields(cls)])
            raise ValueError(f"{name}: there is no such option{hint}")
        return cls(**named)

    def sampling(self, config: Config) -> "Sampling":
        """How to sample with a model: its own values where none are given."""
        temperature, threshold, steps = self.temperature, self.eos_threshold, self.steps
        if temperature is None:
            temperature = config.default_temperature
        if threshold is None:
            threshold = config.default_eos_threshold
        if steps is None:
            steps = 16 if config.flow_lm.flow.type == "flow_matching" else 1
        return Sampling(temperature, steps, self.noise_clamp, max(-1e9, min(threshold, 1e9)))


def kind(option: Any) -> type:
    """The type of an option's values, int or float."""
    return get_args(option.type)[0]


def _checked(option: Any, value: Any) -> int | float:
    """The value as a plain number; numpy's numbers are welcome, texts and booleans are not."""
    whole = kind(option) is int
    try:
        if isinstance(value, bool | str):
            raise TypeError
        number = operator.index(value) if whole else float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    bounds = option.metadata["bounds"].items()
    if number is None or number != number or not all(_BOUNDS[b](number, x) for b, x in bounds):
        wanted = f"give a {'whole ' if whole else ''}number{option.metadata['range']}"
        raise ValueError(f"{option.name} {value}: {wanted}")
    return number


def checked_stop(stop: Any) -> threading.Event:
    """The event that ends a generation; a fresh one for None."""
    if stop is None:
        return threading.Event()
    if not callable(getattr(stop, "is_set", None)):
        raise ValueError(f"stop {stop}: give a threading.Event")
    return stop


def spread(value: Any, count: int, name: str) -> list[Any]:
    """One value for all, or one each."""
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name}: {len(value)} given for {count} texts; give one, or one each")
    return list(value)


@dataclass(frozen=True)
class Sampling:
    """How to sample. Temperature is the variance of the noise."""

    temperature: float = 0.3
    steps: int = 1
    noise_clamp: float | None = None
    eos_threshold: float = -4.0


@dataclass(frozen=True)
class Job:
    """One utterance for the language model: a text chunk in a voice."""

    tokens: Sequence[int]
    tail: int  # frames to go on after EOS
    limit: int  # frames at most
    index: int = 0  # of the chunk in its text: keys the noise
    seed: int = 0
    sampling: Sampling = Sampling()
    words: tuple[Placed, ...] = ()  # where they are among the tokens; for whoever wants their times


def jobs(
    text: str,
    tokenizer: texts.Tokenizer,
    config: Config,
    options: Options | None = None,
    source: tuple[Mapped, str] | None = None,
) -> list[Job]:
    """The chunks of a text as jobs, in order; one seed for all of them.

    With their words, if `source` has the text as it came from the one that the user wrote.
    """
    options = options or Options()
    texts.check_speakable(text)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    sampling = options.sampling(config)
    chunks = texts.chunks(text, tokenizer, config, options.max_tokens, options.frames_after_eos)
    words = place(source[0], chunks, tokenizer, source[1]) if source else [()] * len(chunks)
    return [
        Job(c.tokens, c.frames_after_eos, c.max_frames, index, seed, sampling, words[index])
        for index, c in enumerate(chunks)
    ]


def noise(job: Job, frame: int, size: int) -> np.ndarray:
    """The noise of one frame [size]: a function of (seed, chunk, frame) and how to sample."""
    sampling = job.sampling
    std = np.float32(sampling.temperature**0.5)
    if std == 0:
        return np.zeros(size, np.float32)
    bits = np.random.Philox(key=job.seed & (2**64 - 1), counter=[0, 0, job.index, frame])
    rng = np.random.Generator(bits)
    if sampling.noise_clamp is None:
        return rng.standard_normal(size, np.float32) * std
    clamp, drawn = np.float32(sampling.noise_clamp), np.empty(0, np.float32)
    while drawn.size < size:  # a normal distribution cut at the clamp, by rejection
        if clamp > std:
            draw = rng.standard_normal(4 * size, np.float32) * std
            fine = np.abs(draw) <= clamp
        else:  # a normal one would hardly ever hit
            draw = (2 * rng.random(4 * size, np.float32) - 1) * clamp
            fine = rng.random(4 * size, np.float32) < np.exp(-np.square(draw / std) / 2)
        drawn = np.concatenate([drawn, draw[fine]])
    return drawn[:size]
