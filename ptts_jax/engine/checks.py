"""Whether a chunk was said as it was written, by what the model looked at while it spoke.

What nobody looked at was skipped, or cut off where it is the end; who looks back says it again; who
looks at one place for long, or never ends, babbles. A head that follows the text is a witness, not
a listener: it cannot tell whether a word was pronounced well. An ear can, where a model has one: it
names no faults, but it decides what is worth saying again, and which try is heard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ptts_jax.engine.request import Job
from ptts_jax.model.ear import Ear

UNSEEN = 0.15  # frames of attention below which a token was not looked at
SHORT = 0.2  # seconds that what was skipped would take: with less it may be an unstressed syllable
NEAR = 0.1  # seconds of speech that a look may wander back
BACK = 0.85  # of the attention to what lies further back: a look back
AGAIN = 2  # looks back, one after the other, that say something again
LONG = 1.4  # times as long as other words take: a single look back will do
STILL = 0.8  # seconds in which even a long sound has ended
# In how many pieces a chunk is said again that was said wrong, by a model that says it in another
# way each time, and by one that knows a single way.
AGAIN_VARIED = (1, 1, 2)
AGAIN_ALIKE = (2, 3, 4)
# A model that knows a single way and has an ear says in two what is in doubt, so often at most.
HALVED = 14
OTHERWISE = 4  # times that it says a piece otherwise, and
WARMTH = 1.0  # the temperature at which it does
FAULT = 2.0  # nats that a fault counts where there is an ear, which mostly hears it too
DOUBTFUL = 0.1  # nats for each letter, above which something is in doubt
LOST = 1.0  # nats for each letter, above which anything else sounds better
CLEARER = 0.5  # nats that a cut must spare, or another try

NEXT_SEED = 1 << 32  # from one try to the next: seeds that nobody gives


@dataclass(frozen=True)
class Fault:
    """Something that was said wrong."""

    kind: str  # skipped, repeated, babbling or cut off
    text: str  # what of the text, as it was written
    characters: tuple[int, int]  # its part of the text that was given


@dataclass(frozen=True)
class Checked:
    """How a chunk was said at last."""

    faults: tuple[Fault, ...]
    tries: int  # it took


@dataclass(frozen=True)
class Trying:
    """How the chunks of a text may be said again; the list is told how each of them went."""

    told: list[Checked] = field(default_factory=list)
    at_once: int = 1  # side by side
    again: tuple[int, ...] = AGAIN_VARIED  # in so many pieces each, as long as something is wrong
    ear: Ear | None = None  # who hears what the model does not look at
    otherwise: int = 0  # times that a piece may be said again by a model that could vary

    @property
    def varied(self) -> bool:
        """Whether the model says a text in another way each time."""
        return 1 in self.again

    @property
    def halves(self) -> bool:
        """Whether what is in doubt is said in two."""
        return bool(self.ear and self.again) and not self.varied


def faults(
    job: Job, weights: Sequence[np.ndarray], path: Sequence[int], rate: float
) -> list[Fault]:
    """What is wrong with a chunk, by each frame's weights [N] and token; `rate` frames a second."""
    if not job.words or not len(weights):
        return []
    seen = np.stack(weights)  # [F, N]
    spoken = np.zeros(len(job.tokens), bool)
    for word in job.words:
        spoken[word.first : word.last] = True
    looked = seen.sum(axis=0)[spoken]
    pace = max(0.5, float(looked.sum() / max(1, np.sum(looked > UNSEEN))))  # frames for a token
    return [
        *_unseen(job, seen, spoken, rate, pace),
        *_repeated(job, seen, rate, pace),
        *_babbling(job, path, rate),
    ]


def _of(job: Job, kind: str, first: int, last: int) -> Fault:
    """A fault of the words that have tokens in [first, last)."""
    words = [w for w in job.words if w.first < last and w.last > first] or [job.words[-1]]
    text = " ".join(word.text for word in words)
    return Fault(kind, text, (words[0].start, words[-1].end))


def _unseen(
    job: Job, seen: np.ndarray, spoken: np.ndarray, rate: float, pace: float
) -> Iterator[Fault]:
    """Runs of tokens that the model did not look at."""
    looked = seen.sum(axis=0)  # [N] frames
    silent = (looked <= UNSEEN) | ~spoken
    for first, last in _runs(silent):
        missing = int(spoken[first:last].sum())
        # Who looks at what stands beside it for so long may have said it all the same.
        beside = looked[max(0, first - 1) : first].sum() + looked[last : last + 1].sum()
        lost = missing * pace - max(0.0, beside - 2 * pace)
        if missing < 2 or lost / rate <= SHORT:
            continue
        ends = not spoken[last:].any()
        yield _of(job, "cut off" if ends else "skipped", first, last)


def _repeated(job: Job, seen: np.ndarray, rate: float, pace: float) -> Iterator[Fault]:
    """Runs of frames in which the model looks back from where it had come to."""
    near = round(NEAR * rate / pace)  # tokens
    at = (np.cumsum(seen, axis=1) < 0.5).sum(axis=1)  # [F] the token in the middle of a look
    come = np.maximum.accumulate(np.minimum(at[1:], at[:-1]))  # a single look ahead is none
    come = np.concatenate([[0], [0], come])[: len(at)]  # before each frame
    behind = np.arange(len(job.tokens)) < (come - near)[:, None]  # [F, N]
    looked = seen.sum(axis=0)
    for first, last in _runs((seen * behind).sum(axis=1) > BACK):
        token = int((seen * behind)[first:last].sum(axis=0).argmax())
        word = next((w for w in job.words if w.first <= token < w.last), None)
        long = word and looked[word.first : word.last].sum() > LONG * pace * (
            word.last - word.first
        )
        if last - first >= AGAIN or long:
            yield _of(job, "repeated", token, token + 1)


def _babbling(job: Job, path: Sequence[int], rate: float) -> Iterator[Fault]:
    """Long in one place, or beyond the end."""
    if len(path) >= job.limit:
        yield _of(job, "babbling", len(job.tokens) - 1, len(job.tokens))
        return
    steps = np.diff(np.array(path)) == 0
    for first, last in _runs(steps):
        token = path[first]
        spoken = any(w.first <= token < w.last for w in job.words)
        patience = STILL * rate + (0 if spoken else STILL * rate + job.tail)
        if last - first > patience:
            yield _of(job, "babbling", token, token + 1)


def _runs(true: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of each run of what is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
