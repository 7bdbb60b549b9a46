"""Nested dicts of arrays <-> flat dicts named by path.

Knows nothing of what the leaves are.
"""

from collections.abc import Iterator, Mapping
from typing import Any

SEPARATOR = "/"


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{"a": {"b": leaf}} -> {"a/b": leaf}, in the order of the tree."""
    return dict(_walk(tree, ""))


def _walk(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, item in tree.items():
        if SEPARATOR in name or not name:
            raise ValueError(f"tree: {prefix + name!r} is not a usable name")
        if isinstance(item, Mapping):
            yield from _walk(item, prefix + name + SEPARATOR)
        else:
            yield prefix + name, item


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *folders, name = path.split(SEPARATOR)
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise ValueError(f"tree: {path!r} lies below another tensor")
        if name in node:
            raise ValueError(f"tree: {path!r} is both a tensor and a folder of tensors")
        node[name] = leaf
    return tree
