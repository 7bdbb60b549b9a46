"""Phonon's runtime, by its public API. Run by worker.py as a plain script."""

import os
from collections.abc import Iterator
from typing import Any

NEVER = 1e9  # a threshold that no EOS logit passes


class Speaker:
    def __init__(self, folder: str, quant: str) -> None:
        import ptts

        if hasattr(os, "sched_getaffinity"):  # it counts the machine's cores, and not its own
            ptts.set_num_threads(len(os.sched_getaffinity(0)))
        self._tts = ptts.TTS(folder, quant=quant, lang=None, eos_threshold=NEVER)
        self.rate = self._tts.sample_rate

    def stream(self, text: str) -> Iterator[Any]:
        return self._tts.stream(text)

    def whole(self, text: str) -> Any:
        return self._tts.synth(text)
