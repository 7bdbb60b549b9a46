"""What JAX sees of ours: parameters as nested dicts, and dataclasses that are pytrees.

These are like Flax's own (`flax.struct`), but Flax takes long to import, and a process whose
functions are compiled already needs nothing else of it.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

Params = dict[str, Any]  # nested, with arrays or QTensors as leaves
T = TypeVar("T")


def static(**options: Any) -> Any:
    """A field that is no array: JAX compiles anew for each of its values."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def dataclass(cls: type[T]) -> type[T]:
    """A frozen dataclass that JAX goes through; `replace` makes one with other values."""
    made = dataclasses.dataclass(frozen=True)(cls)
    made.replace = dataclasses.replace
    return jax.tree_util.register_dataclass(made)
