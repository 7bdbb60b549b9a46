"""The facade: a model, its tokenizer and its voices behind a few calls.

Ties the pieces together and checks what a caller passes; the work is done below (drivers) and the
files are found beside (hub, weights, voices).
"""

import dataclasses
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax import audio, config, drivers, hub, released, voices, weights
from ptts_jax import text as texts
from ptts_jax.config import Config
from ptts_jax.drivers import Job, Sampling
from ptts_jax.voices import Voice

DEFAULT_MODEL = "english"
BATCH_ROWS = 8  # utterances side by side; more rows of unequal length waste more than they win

VoiceLike = Voice | str | Path | np.ndarray | None


class TTS:
    """A loaded model. One object may be used from several threads at the same time."""

    def __init__(
        self,
        name: str,
        config: Config,
        params: dict[str, Any],
        tokenizer: texts.Tokenizer,
        *,
        voice_cloning: bool,
        quiet: bool = True,
    ) -> None:
        self.name = name
        self.config = config
        self.params = params
        self.tokenizer = tokenizer
        self.voice_cloning = voice_cloning
        self.quiet = quiet
        self._voices: dict[str, Voice] = {}

    @property
    def sample_rate(self) -> int:
        return self.config.mimi.sample_rate

    @property
    def voices(self) -> tuple[str, ...]:
        """Names that `voice` understands."""
        return released.VOICES if self.name in released.names() else ()

    def voice(self, source: VoiceLike = None, *, truncate: float | None = None) -> Voice:
        """A voice from a name, a file (audio or voice state), a URL, or samples at the model's rate.

        None is the model's default voice. `truncate` cuts a long prompt to so many seconds.
        """
        if isinstance(source, Voice):
            return source
        if isinstance(source, np.ndarray) or hasattr(source, "__array__"):
            samples = np.asarray(source)
            self._check_cloning()
            return self._clone(samples, self.sample_rate, truncate, "the given samples")
        name = self._default_voice() if source is None else os.fspath(source)
        if name not in self._voices or truncate is not None:
            self._voices[name] = self._read_voice(name, truncate)
        return self._voices[name]

    def stream(
        self,
        text: str,
        voice: VoiceLike = None,
        *,
        seed: int | None = None,
        temperature: float | None = None,
        steps: int | None = None,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        frames_after_eos: int | None = None,
        max_tokens: int = texts.MAX_TOKENS,
        stop: threading.Event | None = None,
    ) -> Iterator[np.ndarray]:
        """Speech in float32 blocks as they are made; closing the iterator or `stop` ends the work."""
        sampling = self._sampling(temperature, steps, noise_clamp, eos_threshold)
        jobs = self._jobs(text, _seed(seed), frames_after_eos, max_tokens)
        state = self.voice(voice)
        stop = stop or threading.Event()
        return drivers.stream(self.params, self.config, state, jobs, sampling, stop)

    def generate(self, text: str, voice: VoiceLike = None, **options: Any) -> np.ndarray:
        """The whole speech as float32 samples; options as for `stream`."""
        blocks = list(self.stream(text, voice, **options))
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def generate_batch(
        self,
        texts: Sequence[str],
        voice: VoiceLike | Sequence[VoiceLike] = None,
        *,
        seed: int | None | Sequence[int] = None,
        temperature: float | None = None,
        steps: int | None = None,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        frames_after_eos: int | None = None,
        max_tokens: int = texts.MAX_TOKENS,
        stop: threading.Event | None = None,
    ) -> list[np.ndarray]:
        """Several texts side by side, one voice for all or one each; the same audio as one by one.

        Long texts are batched by their chunks too: the fastest way to much audio.
        """
        sampling = self._sampling(temperature, steps, noise_clamp, eos_threshold)
        own = [self.voice(v) for v in _spread(voice, len(texts), "voice")]
        seeds = [_seed(s) for s in _spread(seed, len(texts), "seed")]
        rows = [  # (text, chunk), every chunk a row
            (number, job)
            for number, item in enumerate(texts)
            for job in self._jobs(item, seeds[number], frames_after_eos, max_tokens)
        ]
        order = sorted(range(len(rows)), key=lambda i: rows[i][1].limit)  # alike beside alike
        stop = stop or threading.Event()
        waves: dict[int, np.ndarray] = {}
        for at in range(0, len(order), BATCH_ROWS):
            group = order[at : at + BATCH_ROWS]
            jobs = [rows[i][1] for i in group]
            states = [own[rows[i][0]] for i in group]
            made = drivers.batch(self.params, self.config, states, jobs, sampling, stop)
            waves.update(zip(group, made, strict=True))
        empty = np.zeros(0, np.float32)
        return [
            np.concatenate([empty, *(waves[i] for i, row in enumerate(rows) if row[0] == number)])
            for number in range(len(texts))
        ]

    def _sampling(
        self,
        temperature: float | None,
        steps: int | None,
        noise_clamp: float | None,
        eos_threshold: float | None,
    ) -> Sampling:
        c = self.config
        if temperature is None:
            temperature = c.default_temperature
        if eos_threshold is None:
            eos_threshold = c.default_eos_threshold
        if steps is None:
            steps = 16 if c.flow_lm.flow.type == "flow_matching" else 1
        if not 0 <= temperature < 100:
            raise ValueError(f"temperature {temperature}: give a number from 0 up (about 0.3)")
        if not 1 <= steps <= 1000:
            raise ValueError(f"steps {steps}: give a whole number from 1 to 1000")
        if noise_clamp is not None and not noise_clamp > 0:
            raise ValueError(f"noise_clamp {noise_clamp}: give a number above 0 (about 2)")
        if np.isnan(eos_threshold):
            raise ValueError("eos_threshold nan: give a number (about -4)")
        return Sampling(temperature, int(steps), noise_clamp, eos_threshold)

    def _jobs(self, text: str, seed: int, tail: int | None, max_tokens: int) -> list[Job]:
        if tail is not None and tail < 0:
            raise ValueError(f"frames_after_eos {tail}: give a whole number from 0 up")
        if max_tokens < 1:
            raise ValueError(f"max_tokens {max_tokens}: give a whole number from 1 up (about 50)")
        chunks = texts.chunks(text, self.tokenizer, self.config, max_tokens, tail)
        return [
            Job(c.tokens, c.frames_after_eos, c.max_frames, index, seed)
            for index, c in enumerate(chunks)
        ]

    def _default_voice(self) -> str:
        if self.name in released.names():
            return released.default_voice(self.name)
        return released.VOICE_SOURCES[released.DEFAULT_VOICE]  # any model can clone its audio

    def _read_voice(self, source: str, truncate: float | None) -> Voice:
        if source in released.VOICES:
            if self.name not in released.names():
                raise ValueError(
                    f"voice {source!r} belongs to the released models and {self.name} is not one; "
                    "give an audio file or a voice-state file made with this model"
                )
            source = released.voice_url(self.name, source)
        elif "/" not in source and not Path(source).exists():
            raise ValueError(_unknown_voice(source, self.voices))
        if is_state(source):
            return voices.read(hub.fetch(source, quiet=self.quiet), self.config.flow_lm)
        self._check_cloning()
        path = hub.fetch(source, quiet=self.quiet)
        return self._clone(*audio.read(path), truncate, str(path))

    def _check_cloning(self) -> None:
        if not self.voice_cloning:
            raise ValueError(
                f"{self.name} was loaded from the public weights, which cannot clone a voice from "
                "audio: use one of the ready voices, or accept the terms on "
                "https://huggingface.co/kyutai/pocket-tts, run `hf auth login` and load it again"
            )

    def _clone(self, samples: np.ndarray, rate: int, truncate: float | None, name: str) -> Voice:
        wave = audio.prepare_prompt(samples, rate, self.sample_rate, truncate, name=name)
        return voices.clone(self.params, self.config, wave)


def load(model: str | Path = DEFAULT_MODEL, *, quiet: bool = True) -> TTS:
    """Load a released model by name, or any by YAML path or URL, or a converted file."""
    name = os.fspath(model)
    if name.endswith(".safetensors"):
        path = hub.fetch(name, quiet=quiet)
        file = weights.load_converted(path)
        tokenizer = texts.tokenizer_from_bytes(
            *file.tokenizer, file.config.flow_lm.lookup_table.n_bins, name
        )
        return TTS(
            file.name, file.config, file.params, tokenizer, voice_cloning=file.voice_cloning
        )
    if name in released.names():
        parsed = released.get(name)
    elif _suffix(name) in (".yaml", ".yml"):
        path = hub.fetch(name, quiet=quiet)
        parsed = config.parse(path.read_text(encoding="utf-8"), name)
    else:
        released.get(name)  # names what is near
        raise AssertionError
    table = parsed.flow_lm.lookup_table
    tokenizer = texts.load_tokenizer(
        hub.fetch(table.tokenizer_path, quiet=quiet), table.tokenizer, table.n_bins
    )
    loaded = weights.load(parsed, hub.fetch_first, cache_dir=hub.cache_dir(), quiet=quiet)
    return TTS(
        name,
        parsed,
        loaded.params,
        tokenizer,
        voice_cloning=loaded.has_voice_cloning,
        quiet=quiet,
    )


def _suffix(source: str) -> str:
    path = source.split("@")[0] if source.startswith("hf://") else source.split("?")[0]
    return Path(path).suffix.lower()
