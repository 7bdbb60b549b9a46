"""The original, by its public API and with its own settings. Run by worker.py as a plain script."""

import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NEVER = 1e9  # a threshold that no EOS logit passes


class Speaker:
    def __init__(self, yaml: str, voice: str, quantize: bool) -> None:
        logging.disable()  # it warns of every utterance that EOS did not end
        warnings.simplefilter("ignore")
        # With torchao installed it takes that, and is slower: hidden, it takes torch.ao.
        sys.modules["torchao"] = None  # type: ignore[assignment]
        from pocket_tts import TTSModel

        self._model = TTSModel.load_model(config=yaml, quantize=quantize, eos_threshold=NEVER)
        self._state = self._model.get_state_for_audio_prompt(Path(voice))
        self.rate = self._model.sample_rate

    def stream(self, text: str) -> Iterator[Any]:
        import torch

        torch.manual_seed(0)
        blocks = self._model.generate_audio_stream(self._state, text)
        return (block.numpy() for block in blocks)

    def whole(self, text: str) -> Any:
        return self._model.generate_audio(self._state, text).numpy()
