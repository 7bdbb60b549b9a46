"""Pocket TTS in JAX/Flax: streaming text-to-speech with voice cloning on ordinary CPUs.

    tts = ptts_jax.load("english")
    pcm = tts.generate("Hello!", tts.voice("alba"))  # float32 at tts.sample_rate

Importing this changes no global setting, starts no backend and touches no network.
"""

from ptts_jax.startup import use_compilation_cache
from ptts_jax.tts import TTS, load
from ptts_jax.voices import Voice

__all__ = ["TTS", "Voice", "load", "use_compilation_cache"]
