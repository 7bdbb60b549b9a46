"""Checkpoints of the reference <-> our parameter tree, both directions."""

from convert.names import ConvertError, from_reference, to_reference
from convert.tree import flatten, unflatten

__all__ = ["ConvertError", "flatten", "from_reference", "to_reference", "unflatten"]
