"""Audio as mono float32 arrays: read from files, made into voice prompts, written to files."""

from ptts_jax.audio.loudness import levelled
from ptts_jax.audio.reading import SILENCE, end_on_pause, prepare_prompt, read, resample
from ptts_jax.audio.writing import (
    FORMATS,
    TAIL,
    AudioWriter,
    OutputClosed,
    check_output,
    open_writer,
    write,
)

__all__ = [
    "FORMATS",
    "SILENCE",
    "TAIL",
    "AudioWriter",
    "OutputClosed",
    "check_output",
    "end_on_pause",
    "levelled",
    "open_writer",
    "prepare_prompt",
    "read",
    "resample",
    "write",
]
