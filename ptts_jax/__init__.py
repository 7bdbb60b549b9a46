"""Pocket TTS in JAX/Flax: streaming text-to-speech with voice cloning on ordinary CPUs.

    tts = ptts_jax.load("english")
    pcm = tts.generate("Hello!", tts.voice("alba"))  # float32 at tts.sample_rate

Importing this changes no global setting, starts no backend and touches no network; what is named
here is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptts_jax.engine.service import Engine
    from ptts_jax.engine.startup import use_compilation_cache
    from ptts_jax.engine.voices import Voice
    from ptts_jax.tts import TTS, load

__version__ = "0.1.0"
__all__ = ["TTS", "Engine", "Voice", "load", "use_compilation_cache"]

_HOMES = {
    "TTS": "tts",
    "Engine": "engine.service",
    "Voice": "engine.voices",
    "load": "tts",
    "use_compilation_cache": "engine.startup",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ptts_jax' has no attribute {name!r}")
    return getattr(import_module(f"ptts_jax.{_HOMES[name]}"), name)
