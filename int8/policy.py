"""Which weights of a model become QTensors: groups of names, less those that must never.

Knows nested dicts of arrays and patterns of their names ("a/b/w"); whose names they are, and how a
leaf of another layout becomes a matrix [out, in], is the caller's to say.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from int8.feedback import quantize_for
from int8.qtensor import QTensor, quantize, why_not

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """What a policy did to a tree."""

    quantized: tuple[str, ...]  # names of leaves
    left: tuple[tuple[str, str], ...]  # chosen, but still float: name and reason

    def __str__(self) -> str:
        if not self.left:
            return f"{len(self.quantized)} weights are quantised"
        total = len(self.quantized) + len(self.left)
        (name, reason), *others = self.left
        more = f"; and {len(others)} more" if others else ""
        return f"{len(self.left)} of {total} weights stay float ({name}: {reason}{more})"


def check_groups(chosen: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a name that is no group."""
    known = list(known)
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ValueError(f"unknown int8 group {name!r}; {hint}(there are {', '.join(known)})")


def quantize_tree(
    params: Params,
    groups: Mapping[str, Sequence[str]],
    chosen: Sequence[str],
    never: Sequence[str] = (),
    bits: int = 8,
    group_size: int | None = None,
    *,
    as_matrix: Callable[[Any], Any] = lambda leaf: leaf,
    grams: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, Any], Report]:
    """A new tree in which the leaves of the chosen groups are QTensors, and what became of each.

    What has a sum of its inputs' products in `grams` is rounded with a view to them (feedback.py).
    `groups` and `never` hold regular expressions that match whole names. Leaves quantised so
    before are kept as they are; leaves quantised otherwise are refused.
    """
    check_groups(chosen, groups)
    wanted = {name: _any_of(groups[name]) for name in chosen}
    forbidden = [re.compile(pattern) for pattern in never]
    found: set[str] = set()
    quantized: list[str] = []
    left: list[tuple[str, str]] = []

    def change(path: str, node: Any) -> Any:
        own = {name for name, pattern in wanted.items() if pattern.fullmatch(path)}
        if not own or any(pattern.fullmatch(path) for pattern in forbidden):
            return node
        found.update(own)
        leaf, reason = _quantized(path, node, bits, group_size, as_matrix, (grams or {}).get(path))
        if reason is None:
            quantized.append(path)
        else:
            left.append((path, reason))
        return leaf

    tree = _changed(params, change)
    if empty := [name for name in chosen if name not in found]:
        raise ValueError(f"int8 group {empty[0]!r} names no weight of this model")
    return tree, Report(tuple(quantized), tuple(left))


def cast_tree(params: Params, patterns: Sequence[str], dtype: Any) -> dict[str, Any]:
    """A new tree in which the float leaves whose whole names match are of another float type."""
    wanted = _any_of(patterns)

    def change(path: str, node: Any) -> Any:
        chosen = not isinstance(node, QTensor) and wanted.fullmatch(path)
        return node.astype(dtype) if chosen else node

    return _changed(params, change)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{p})" for p in patterns))


def _changed(params: Params, change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """A new tree of what `change` makes of each leaf and its name."""

    def visit(path: str, node: Any) -> Any:
        if isinstance(node, Mapping):
            return {name: visit(f"{path}/{name}".lstrip("/"), item) for name, item in node.items()}
        return change(path, node)

    return visit("", params)


def _quantized(
    path: str,
    leaf: Any,
    bits: int,
    group_size: int | None,
    as_matrix: Callable[[Any], Any],
    gram: np.ndarray | None,
) -> tuple[Any, str | None]:
    """The leaf as it shall be, and why it is still float if so."""
    if isinstance(leaf, QTensor):
        if (leaf.bits, leaf.group_size) != (bits, group_size):
            raise ValueError(
                f"{path} is quantised already, to {leaf.bits} bits with group size "
                f"{leaf.group_size}; for another format start from the float model"
            )
        return leaf, None
    matrix = as_matrix(leaf)
    if reason := why_not(matrix.shape, bits, group_size):
        return leaf, reason
    try:
        if gram is not None:
            return quantize_for(matrix, gram, bits, group_size), None
        return quantize(matrix, bits, group_size), None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
