"""An ear: a small net that reads back from latents what was said, and tells whether it was a text.

It knows the sounds of a codec's latents as letters, with connectionist temporal classification (A.
Graves and others, 2006): each frame has SLOTS places in turn for a letter or for none. Its
functions take NumPy's arrays, to hear in the middle of speech, or JAX's, to learn.

F frames of latents, D numbers each, normalised as the language model has them; S slots of all
frames; V sounds, of which 0 is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert import flatten
from ptts_jax.model.pytree import Params

SLOTS = 4  # of a frame
TAPS = 5  # frames that a layer hears at once
LAYERS = 4
NEVER = -1e30  # the logarithm of nothing


@dataclass(frozen=True, eq=False)
class Ear:
    """An ear and what it hears tokens as."""

    params: Params
    labels: np.ndarray  # [tokens]: the sound of each, 0 of those that are not heard

    def fits(self, size: int, tokens: int) -> bool:
        """Whether it hears latents of so many numbers as so many tokens."""
        if len(self.labels) != tokens or self.labels.min() < 0:
            return False
        given = {path: np.shape(leaf) for path, leaf in flatten(self.params).items()}
        width = given.get("first/b", (0,))[0]
        needed = {}
        for name, shape in shapes(size, width, int(self.labels.max()) + 1).items():
            needed |= {f"{name}/w": shape, f"{name}/b": shape[:1]}
        return given == needed

    def letters(self, tokens: Any) -> np.ndarray:
        """The sounds of a text, in turn."""
        said = self.labels[np.asarray(tokens)]
        return said[said > 0]

    def doubt(self, tokens: Any, latents: np.ndarray) -> float:
        """Nats by which the text is less likely than what is heard best."""
        if not len(latents):
            return -NEVER if len(self.letters(tokens)) else 0.0
        heard = sounds(self.params, np.asarray(latents, np.float32))
        return float(heard.max(axis=-1).sum()) - likelihood(heard, self.letters(tokens))


def labels(pieces: Any) -> np.ndarray:
    """The sound of each token of a vocabulary: alike for small letters and capitals."""
    heard = [piece.casefold() for piece in pieces]
    known = sorted({piece for piece in heard if _is_heard(piece)})
    numbers = {piece: number for number, piece in enumerate(known, 1)}
    return np.array([numbers.get(piece, 0) for piece in heard], np.int32)


def _is_heard(piece: str) -> bool:
    """Letters and digits, and the space between words; no marks."""
    plain = piece.replace("\u2581", " ")
    return plain == " " or any(c.isalnum() for c in plain) and not plain.startswith("<")


def shapes(size: int, width: int, count: int) -> dict[str, tuple[int, int]]:
    """Of an ear for latents of so many numbers and so many sounds: (outputs, inputs) of layers."""
    return {
        "first": (width, TAPS * size),
        **{f"layer_{i}": (width, TAPS * width) for i in range(1, LAYERS)},
        "tell": (SLOTS * count, width),
    }


def init(random: np.random.Generator, size: int, width: int, count: int) -> Params:
    """A new ear."""

    def linear(outputs: int, inputs: int) -> Params:
        w = random.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        return {"w": w.astype(np.float32), "b": np.zeros(outputs, np.float32)}

    return {name: linear(*shape) for name, shape in shapes(size, width, count).items()}


def sounds(
    params: Params, latents: Any, xp: Any = np, spoiled: Callable[[Any], Any] = lambda x: x
) -> Any:
    """The logarithm of how likely each sound is: latents [..., F, D] -> [..., S, V].

    `spoiled` is done to what goes from layer to layer: who learns leaves some of it out.
    """
    x = spoiled(_bent(_conv(params["first"], latents, xp), xp))
    for i in range(1, LAYERS):
        x = x + spoiled(_bent(_conv(params[f"layer_{i}"], x, xp), xp))
    x = x @ params["tell"]["w"].T + params["tell"]["b"]
    x = x.reshape(*x.shape[:-2], SLOTS * x.shape[-2], -1)
    x = x - x.max(axis=-1, keepdims=True)
    return x - xp.log(xp.exp(x).sum(axis=-1, keepdims=True))


def likelihood(heard: np.ndarray, said: np.ndarray) -> float:
    """The logarithm of how likely sounds [N] are, in any places: by the sounds [S, V] heard."""
    path = np.zeros(2 * len(said) + 1, np.int64)  # nothing, a sound, nothing, a sound, ...
    path[1::2] = said
    other = np.zeros(len(path), bool)  # may follow the sound before without a pause
    other[3::2] = said[1:] != said[:-1]
    states = np.full(len(path), NEVER)
    states[0] = 0.0
    for slot in heard[:, path].astype(np.float64):
        before = states.copy()
        before[1:] = np.logaddexp(before[1:], states[:-1])
        before[2:] = np.where(other[2:], np.logaddexp(before[2:], states[:-2]), before[2:])
        states = before + slot
    return float(np.logaddexp(states[-1], states[-2]) if len(said) else states[-1])


def _conv(layer: Params, x: Any, xp: Any) -> Any:
    """A layer over TAPS neighbours [..., F, D], of which those beyond the ends are silent."""
    beside = TAPS // 2
    pad = xp.pad(x, [(0, 0)] * (x.ndim - 2) + [(beside, beside), (0, 0)])
    count = x.shape[-2]
    near = xp.concatenate([pad[..., i : i + count, :] for i in range(TAPS)], axis=-1)
    return near @ layer["w"].T + layer["b"]


def _bent(x: Any, xp: Any) -> Any:
    """GELU, by its tanh."""
    return 0.5 * x * (1 + xp.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))
