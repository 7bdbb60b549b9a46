"""TTSModel with the names, arguments and results of pocket-tts 4, over `ptts_jax.load`."""

import operator
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ptts_jax
from ptts_jax.compat import tensors
from ptts_jax.engine import voices
from ptts_jax.engine.voices import Voice
from ptts_jax.model.config import Config
from ptts_jax.store import safetensors
from ptts_jax.tts import DEFAULT_MODEL, TTS

State = dict[str, dict[str, Any]]  # the original's: {layer: {"cache", "offset", "pad"}}

MAX_TOKENS = 50  # of a chunk of text, for any model: the original's default
PROMPT_SECONDS = 30.0  # of a recording that are used with truncate=True


class ModelState(dict):
    """A voice as the original's nested dict of tensors.

    It remembers the voice that it was made from, so that an utterance need not build it again.
    """

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        for name, x in voice.tensors().items():
            layer, _, key = name.partition("/")
            self.setdefault(layer, {})[key] = tensors.tensor(x)
        self._voice, self._made_of = voice, self._tensors()

    def voice(self) -> Voice | None:
        """The voice; None when somebody has put another tensor into the dict."""
        now = self._tensors()
        same = len(now) == len(self._made_of) and all(map(operator.is_, now, self._made_of))
        return self._voice if same else None

    def _tensors(self) -> list[Any]:
        return [x for layer in self.values() for x in layer.values()]


@dataclass(eq=False)
class TTSModel:
    """A loaded model. Unlike the original, one object may be used from several threads."""

    tts: TTS
    temp: float
    sampler_decode_steps: int
    noise_clamp: float | None
    eos_threshold: float

    @classmethod
    def load_model(
        cls,
        language: str | None = None,
        config: str | Path | None = None,
        temp: float | None = None,
        sampler_decode_steps: int = 1,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        quantize: bool = False,
        checkpoint: str | Path | None = None,
        lsd_decode_steps: int | None = None,
    ) -> "TTSModel":
        """A released model by its `language`, or any by its `config`, a YAML path or address.

        `temp` and `eos_threshold` are the model's own where they are None. `quantize` computes
        attention and FFN products in int8. `lsd_decode_steps` is the old name of
        `sampler_decode_steps`.
        """
        if language is not None and config is not None:
            raise ValueError("language and config both name a model: give only one of them")
        if checkpoint is not None:
            raise ValueError(
                f"checkpoint {checkpoint}: training checkpoints (.pt) are not read here; export it "
                "as safetensors and name that file in the YAML file given as config"
            )
        tts = ptts_jax.load(config or language or DEFAULT_MODEL, int8=quantize)
        own = tts.config
        return cls(
            tts,
            own.default_temperature if temp is None else temp,
            sampler_decode_steps if lsd_decode_steps is None else lsd_decode_steps,
            noise_clamp,
            own.default_eos_threshold if eos_threshold is None else eos_threshold,
        )

    @property
    def sample_rate(self) -> int:
        return self.tts.sample_rate

    @property
    def device(self) -> Any:
        """Where its tensors are (torch.device where torch is installed)."""
        return tensors.device()

    @property
    def config(self) -> Config:
        return self.tts.config

    @property
    def has_voice_cloning(self) -> bool:
        return self.tts.voice_cloning

    def to(self, device: Any) -> "TTSModel":
        """Itself, on the processor; its tensors are on no other device."""
        if str(device) != "cpu":
            raise ValueError(f"device {device}: tensors of this package are on the cpu; leave it")
        return self

    def eval(self) -> "TTSModel":
        return self

    def get_state_for_audio_prompt(
        self, audio_conditioning: str | Path | Any, truncate: bool = False
    ) -> ModelState:
        """The state of a voice: a ready name, a recording or .safetensors file (path or address),
        or samples [channels, T] at the model's rate. `truncate` uses the first 30 seconds."""
        source = audio_conditioning
        if not isinstance(source, str | Path | Voice):
            source = tensors.array(source)
        return ModelState(self.tts.voice(source, truncate=PROMPT_SECONDS if truncate else None))

    def get_state_for_voice(self, voice: str) -> ModelState:
        """The state of a ready voice."""
        return self.get_state_for_audio_prompt(voice)

    def generate_audio(
        self,
        model_state: State,
        text_to_generate: str,
        max_tokens: int = MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
    ) -> Any:
        """The whole speech as a tensor [samples]."""
        how = max_tokens, frames_after_eos, copy_state
        blocks = self.generate_audio_stream(model_state, text_to_generate, *how)
        return tensors.tensor(np.concatenate([tensors.array(block) for block in blocks]))

    def generate_audio_stream(
        self,
        model_state: State,
        text_to_generate: str,
        max_tokens: int = MAX_TOKENS,
        frames_after_eos: int | None = None,
        copy_state: bool = True,
        stop: threading.Event | None = None,
    ) -> Iterator[Any]:
        """The speech as tensors [samples], as they are made; setting `stop` ends it.

        The state is never changed: `copy_state` is accepted, and has nothing to do.
        """
        for block in self.tts.stream(
            text_to_generate,
            self._voice(model_state),
            seed=tensors.seed(),
            temperature=self.temp,
            steps=self.sampler_decode_steps,
            noise_clamp=self.noise_clamp,
            eos_threshold=self.eos_threshold,
            frames_after_eos=frames_after_eos,
            max_tokens=max_tokens,
            stop=stop,
        ):
            yield tensors.tensor(block)

    def _voice(self, state: State) -> Voice:
        voice = state.voice() if isinstance(state, ModelState) else None
        return voice or voices.from_tensors("model_state", _flat(state), self.config.flow_lm)


def export_model_state(model_state: State, dest: str | Path) -> None:
    """Write a state as a .safetensors file, which `get_state_for_audio_prompt` reads."""
    safetensors.write(dest, _flat(model_state), {})


def _flat(state: State) -> dict[str, np.ndarray]:
    return {
        f"{layer}/{key}": np.ascontiguousarray(tensors.array(x))
        for layer, held in state.items()
        for key, x in held.items()
    }
