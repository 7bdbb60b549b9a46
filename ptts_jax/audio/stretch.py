"""Faster or slower speech at the same pitch: WSOLA, as a layer `(x, state) -> (y, state)`.

Short pieces of the speech are laid over each other at another distance than they had. Each piece is
taken near the place where it ought to begin, there where it goes on best from the piece before.
"""

from dataclasses import dataclass, replace

import numpy as np

SLOWEST, FASTEST = 0.25, 4.0
HOP = 0.015  # seconds between pieces, which are twice as long
REACH = 0.010  # seconds that a piece may be moved, either way: a period of the lowest voice


@dataclass(frozen=True)
class StretchState:
    """Where a stretched stream stands. Places count samples from the start of the input."""

    speed: float
    hop: int  # samples
    reach: int  # samples
    pending: np.ndarray  # [T] input that is still needed
    begins: int  # place of pending[0]
    piece: int  # number of the next piece
    place: int  # where the piece before was taken
    tail: np.ndarray  # [hop] its second half, faded out
    ready: np.ndarray  # [T] output that may yet turn out to be beyond the end
    given: int  # output samples so far


def check_speed(speed: float, name: str = "speed") -> None:
    """Refuse what cannot be heard as speech."""
    if not SLOWEST <= speed <= FASTEST:
        raise ValueError(f"{name} {speed}: give a number from {SLOWEST} to {FASTEST:g}")


def start(sample_rate: int, speed: float) -> StretchState:
    """The state before the first sample."""
    check_speed(speed)
    hop, reach = round(HOP * sample_rate), round(REACH * sample_rate)
    nothing, silence = np.zeros(0, np.float32), np.zeros(hop, np.float32)
    return StretchState(speed, hop, reach, nothing, 0, 0, 0, silence, nothing, 0)


def stretch(
    x: np.ndarray, state: StretchState, last: bool = False
) -> tuple[np.ndarray, StretchState]:
    """Samples [T] -> samples [about T / speed]. `last` gives what is left; no more may follow."""
    hop, pending = state.hop, np.concatenate([state.pending, np.asarray(x, np.float32)])
    ends = state.begins + len(pending)
    total = round(ends / state.speed)  # of output so far: exactly what the speed says
    if last:
        pending = np.concatenate([pending, np.zeros(4 * hop + 2 * state.reach, np.float32)])
    rise = np.square(np.sin(np.pi / 2 * (np.arange(hop, dtype=np.float32) + 0.5) / hop))
    parts, place, tail, piece = [state.ready], state.place, state.tail, state.piece
    while piece * hop < total:
        ideal = round(piece * hop * state.speed)
        need = max(ideal + state.reach, place + hop) + 2 * hop
        if need > state.begins + len(pending):
            break
        if piece:
            place = _best(pending, ideal - state.begins, place + hop - state.begins, state)
            place += state.begins
        at = place - state.begins
        part = pending[at : at + hop]
        parts.append(tail + rise * part if piece else part)
        tail = (1 - rise) * pending[at + hop : at + 2 * hop]
        piece += 1
    y = np.concatenate(parts)
    y, ready = np.split(y, [total - state.given])
    done = min(place + hop, max(0, round(piece * hop * state.speed) - state.reach))
    done = max(0, min(done - state.begins, len(pending)))
    after = {"pending": pending[done:], "begins": state.begins + done, "piece": piece}
    after |= {"place": place, "tail": tail, "ready": ready, "given": state.given + len(y)}
    return y, replace(state, **after)


def _best(pending: np.ndarray, ideal: int, onward: int, state: StretchState) -> int:
    """The place near `ideal` whose sound is most like that at `onward`."""
    hop, first = state.hop, max(0, ideal - state.reach)
    goal = pending[onward : onward + hop].astype(np.float64)
    near = pending[first : ideal + state.reach + hop].astype(np.float64)
    alike = np.correlate(near, goal, "valid")
    sums = np.concatenate([[0.0], np.cumsum(np.square(near))])
    loud = np.sqrt(np.maximum(sums[hop:] - sums[:-hop], 1e-12))
    return first + int(np.argmax(np.round(alike / loud, 6)))  # the first of those alike


def stretched(wave: np.ndarray, sample_rate: int, speed: float) -> np.ndarray:
    """A whole recording [T] at another speed; at speed 1 the recording itself."""
    if speed == 1:
        return wave
    return stretch(wave, start(sample_rate, speed), last=True)[0]
