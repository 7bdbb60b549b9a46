"""Which token is spoken in which frame: a path through the attention to a text, as it is made.

A layer `(x, state) -> (y, state)`: a frame's weights over the tokens in, the tokens of frames that
are settled out. The path never goes back; it is the best one by what is known DELAY frames later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

DELAY = 5  # frames
SKIP = 0.3  # nats for each token that is passed over
FLOOR = 1e-6  # of a weight: no frame rules a path out


@dataclass(frozen=True)
class Following:
    """The state after some frames of a text of N tokens."""

    scores: np.ndarray  # [N] of the best path to each token
    back: tuple[np.ndarray, ...]  # per frame that is not settled, [N]: the token before
    settled: int = 0  # the last settled token
    frames: int = 0


def start(tokens: int) -> Following:
    """Before the first frame."""
    return Following(-SKIP * np.arange(tokens), ())


def weights(logits: np.ndarray) -> np.ndarray:
    """What the watched heads see [H, N], as one distribution over the tokens [N]."""
    parts = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)


def follow(seen: np.ndarray, state: Following) -> tuple[list[int], Following]:
    """A frame's weights [N]; the tokens of the frames that are settled by it, one at most."""
    scores, back = state.scores, state.back
    if state.frames:
        slope = SKIP * np.arange(len(scores))
        # From token j to i > j costs SKIP for each token between the two.
        ahead = scores + slope + SKIP
        ahead[1:], ahead[0] = ahead[:-1].copy(), -np.inf
        best = np.maximum.accumulate(ahead) - slope
        came = np.maximum.accumulate(np.where(ahead - slope >= best, np.arange(len(scores)), 0)) - 1
        stays = scores >= best
        scores = np.where(stays, scores, best)
        back = (*back, np.where(stays, np.arange(len(scores)), came))
    scores = scores + np.log(seen + FLOOR)
    state = replace(state, scores=scores, back=back, frames=state.frames + 1)
    if len(back) < DELAY:
        return [], state
    token = max(_traced(state, int(np.argmax(scores)))[0], state.settled)
    return [token], replace(state, back=back[1:], settled=token)


def end(state: Following) -> list[int]:
    """The tokens of the frames that are left, now that no more come."""
    if not state.frames:
        return []
    rest = SKIP * np.arange(len(state.scores))[::-1]  # what lies behind the end was passed over
    path = _traced(state, int(np.argmax(state.scores - rest)))
    return np.maximum(np.maximum.accumulate(path), state.settled).tolist()


def path(seen: Sequence[np.ndarray]) -> list[int]:
    """The token of each frame [F, N]: all at once."""
    state, tokens = start(len(seen[0]) if len(seen) else 0), []
    for frame in seen:
        more, state = follow(frame, state)
        tokens += more
    return tokens + end(state)


def sureness(spoken: Sequence[Sequence[np.ndarray]]) -> float:
    """Mean log weight of the best paths from the first token to the last: [F, N] each."""
    total = 0.0
    for seen in spoken:
        state = start(len(seen[0]) if len(seen) else 1)
        for frame in seen:
            _, state = follow(frame, state)
        total += float(state.scores[-1])
    return total / max(1, sum(map(len, spoken)))


def _traced(state: Following, token: int) -> list[int]:
    """The tokens of the frames that are not settled, on the best path to a token of the last."""
    tokens = [token]
    for came in reversed(state.back):
        tokens.append(int(came[tokens[-1]]))
    return tokens[::-1]
