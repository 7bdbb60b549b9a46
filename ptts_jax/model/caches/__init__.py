"""The caches by name, and a cache of one's own by its module and class."""

import importlib
from typing import Any

from ptts_jax.model.caches.bf16 import BFloat16Cache
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.int8 import Int8Cache
from ptts_jax.model.caches.paged import PagedCache
from ptts_jax.model.caches.ring import RingCache

NAMES: dict[str, Any] = {
    "full": FullCache,
    "bf16": BFloat16Cache,
    "int8": Int8Cache,
    "paged": PagedCache,
    "ring": RingCache,
}
MAKES = ("init", "from_voices", "slots_for")  # what a class, or whatever else makes caches, offers


def find(cache: Any) -> Any:
    """What makes caches: by a name of `NAMES`, as "module:Class", or given as it is."""
    kind = cache
    if isinstance(cache, str):
        module, colon, name = cache.partition(":")
        if colon:
            try:
                kind = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError, ValueError) as error:
                raise ValueError(f"cache {cache!r}: {error}; give module:Class") from None
        elif cache in NAMES:
            kind = NAMES[cache]
        else:
            known = ", ".join(NAMES)
            raise ValueError(f"cache {cache!r}: unknown; give {known}, or module:Class")
    missing = [name for name in MAKES if not callable(getattr(kind, name, None))]
    if missing:
        raise ValueError(
            f"cache {cache!r} has no {', '.join(missing)}: a cache offers what "
            "ptts_jax/model/caches/protocol.py says"
        )
    return kind
