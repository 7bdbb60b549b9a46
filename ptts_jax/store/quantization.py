"""Which of this model's weights are quantised: the groups a user may choose, and the choice itself.

How weights are quantised and multiplied is the package int8's business; `params -> params` here,
and nothing else of the model changes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from convert import flatten, unflatten
from int8 import QTensor, exact, qtensor
from int8.policy import Report, cast_tree, check_groups, quantize_tree
from int8.qtensor import GROUP_SIZES
from ptts_jax.model.pytree import Params

_BLOCK = r"layers/layer_\d+"
GROUPS: dict[str, tuple[str, ...]] = {
    "attention": (rf"lm/backbone/{_BLOCK}/(in_proj|out_proj)/w",),
    "ffn": (rf"lm/backbone/{_BLOCK}/(up|down)/w",),
    # The products that are large. The times' embeddings are not: they are made once per utterance.
    # `input` and `final` are small (16,000 of 10 million weights), and what `final` gives is fed
    # back as the next latent: in float they cost nothing and add no error of their own.
    "flow": (r"lm/head/modulation/(cond|all)/w", r"lm/head/net/(in|out)_\d+/w"),
    # Of the convolutions only the large early ones: the later ones gain no time, and their noise
    # is what is heard in pauses. The depthwise upsampling is no matrix product.
    "codec": (
        rf"codec/decoder/transformer/{_BLOCK}/(in_proj|out_proj|up|down)/w",
        r"codec/decoder/transformer/(input|output)/w",
        r"codec/decoder/seanet/(first|up_0|res_0_\d+_(in|out))/w",
    ),
}
DEFAULT = ("attention", "ffn")
BITS = (8, 4)  # to choose from
# What of these is not quantised to 8 bits has 16: errors far below those of the 8 bits beside it
# (int8/README.md), for half the bytes to read. The head's few rows a step are bound by these bytes,
# so bfloat16 does; the decoder's many rows by their multiplication, which integers do faster.
HALVED = GROUPS["flow"]
WIDE = tuple(pattern for pattern in GROUPS["codec"] if "/transformer/" in pattern)
NEVER = (
    r"lm/(eos|backbone/z_proj)/.*",  # the stop is touchy, and so is what it reads
    r"lm/(text|speaker|input|head/net/input)/.*",  # what the model is told
    r"(.*/)?(norm\w*|times|final|last|upsample|quantizer)/.*",
    r"codec/encoder/.*",
)


# What a vocoder multiplies with in every subframe. FARGAN has integers here, and its native call
# multiplies them as exactly as floats (int8/native/ops/vocoder.h): they stay in a float model.
_VOCODER = re.compile(r"codec/decoder/vocoder/subframe/(?!gain|shares)\w+/w")


@dataclass(frozen=True)
class Int8:
    """What to quantise, and how. Equal choices are equal objects, however they were spelt."""

    groups: tuple[str, ...] = DEFAULT
    bits: int = 8
    group_size: int | None = None

    def __post_init__(self) -> None:
        check_groups(self.groups, [*GROUPS, "all"])
        if not self.groups:
            raise ValueError(f"no int8 group is named (there are {', '.join([*GROUPS, 'all'])})")
        if self.bits not in BITS:
            raise ValueError(f"bits {self.bits}: give {' or '.join(map(str, BITS))}")
        if self.group_size is not None and self.group_size not in GROUP_SIZES:
            sizes = ", ".join(map(str, GROUP_SIZES))
            raise ValueError(f"group_size {self.group_size}: give one of {sizes}, or none at all")
        chosen = [name for name in GROUPS if name in self.groups or "all" in self.groups]
        object.__setattr__(self, "groups", tuple(chosen))

    @property
    def label(self) -> str:
        """Names the choice within a file name."""
        size = "" if self.group_size is None else f"-g{self.group_size}"
        return f"int{self.bits}{size}-{'-'.join(self.groups)}"


def parse(
    choice: Int8 | bool | str | Sequence[str] | None, bits: int = 8, group_size: int | None = None
) -> Int8 | None:
    """A choice as users put it: None, True, "all", "attention,ffn" or a list of such names."""
    if isinstance(choice, Int8):
        return choice
    if choice is None or choice is False:
        if (bits, group_size) != (8, None):
            raise ValueError("bits and group_size: only of use with int8; give int8 too")
        return None
    if choice is True:
        return Int8(DEFAULT, bits, group_size)
    names = choice.split(",") if isinstance(choice, str) else choice
    return Int8(tuple(name.strip() for name in names if name.strip()), bits, group_size)


def apply(
    params: Params, spec: Int8, grams: Mapping[str, np.ndarray] | None = None
) -> tuple[Params, Report]:
    """Quantised parameters, and what became of each chosen weight.

    What is quantised already stays as it is. `grams` are sums of x.T @ x over the inputs of weights
    by their names, which are then rounded with a view to them.
    """
    spelt = spec.bits, spec.group_size
    how = {"as_matrix": as_matrix, "grams": grams}
    tree, report = quantize_tree(params, GROUPS, spec.groups, NEVER, *spelt, **how)
    if "codec" in params and "codec" not in spec.groups:
        tree, _ = quantize_tree(tree, {"codec": WIDE}, ["codec"], NEVER, bits=16)
    return cast_tree(tree, HALVED, ml_dtypes.bfloat16), report


def rounded(params: Params) -> Params:
    """The weights of the default groups as QTensors, to keep, not to multiply with; and those of a
    vocoder, exactly where they are integers already."""
    flat = flatten(quantize_tree(params, GROUPS, DEFAULT, NEVER)[0])
    return unflatten({k: _integers(x) if of_vocoder(k) else x for k, x in flat.items()})


def of_vocoder(name: str) -> bool:
    """Whether a leaf is a vocoder's weight, which may be a QTensor in a float model."""
    return _VOCODER.fullmatch(name) is not None


def _integers(w: Any) -> QTensor:
    if isinstance(w, QTensor):
        return w
    w = np.asarray(w, np.float32)
    return exact(w) or qtensor.quantize(w)


def quantize(params: Params, spec: Int8) -> Params:
    """As `apply`, without the report."""
    return apply(params, spec)[0]


def matrix_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a weight [K, in, out] or [out, in] as a QTensor: see as_matrix."""
    return (shape[2], shape[0] * shape[1]) if len(shape) == 3 else tuple(shape)


def as_matrix(w: Any) -> Any:
    """A convolution's weight [K, in, out] as the matrix [out, K * in], tap after tap."""
    return w.transpose(2, 0, 1).reshape(w.shape[2], -1) if w.ndim == 3 else w
