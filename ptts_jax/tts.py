"""The facade: a model, its tokenizer and its voices behind a few calls.

Ties the pieces together and checks what a caller passes; the work is done below (drivers) and the
files are found beside (hub, weights, voices).
"""

import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax import (
    audio,
    bundled,
    config,
    drivers,
    hub,
    quantization,
    released,
    settings,
    stream,
    voices,
    weights,
)
from ptts_jax import text as texts
from ptts_jax.config import Config
from ptts_jax.drivers import Job
from ptts_jax.quantization import Int8
from ptts_jax.voices import Voice

DEFAULT_MODEL = released.names()[0]
# Utterances side by side: each number is a compilation, and more of unequal length waste more than
# they win.
BATCH_ROWS = (8, 4, 2, 1)
VOICES_KEPT = 64  # read or cloned before and asked for again

VoiceLike = Voice | str | Path | np.ndarray | None


class TTS:
    """A loaded model. One object may be used from several threads at the same time."""

    def __init__(
        self,
        name: str,
        config: Config,
        params: dict[str, Any],
        tokenizer: texts.Tokenizer,
        voice_cloning: bool,
        *,
        quiet: bool = True,
    ) -> None:
        self.name = name
        self.config = config
        self.params = params
        self.tokenizer = tokenizer
        self.voice_cloning = voice_cloning
        self.quiet = quiet
        self._known: dict[tuple, Voice] = {}
        self._warm = voices.WarmCaches()

    @property
    def sample_rate(self) -> int:
        return self.config.mimi.sample_rate

    @property
    def released(self) -> bool:
        """Whether these are Kyutai's own weights, for which ready voices exist."""
        return self.name in released.names()

    @property
    def voices(self) -> tuple[str, ...]:
        """Names that `voice` understands."""
        if self.name == bundled.NAME:
            return bundled.voices()
        return tuple(released.VOICES) if self.released else ()

    def voice(self, source: VoiceLike = None, *, truncate: float | None = None) -> Voice:
        """A voice from a name, a file (audio or voice state), a URL, or samples (at its rate).

        None is the model's default voice. `truncate` cuts a long prompt to so many seconds.
        """
        if truncate is not None and not truncate > 0:
            raise ValueError(f"truncate {truncate}: give seconds above 0")
        if isinstance(source, Voice):
            return self._fitting(source)
        if source is None:
            source = self._default_voice()
        if not isinstance(source, str | os.PathLike):
            return self._clone(_samples(source), self.sample_rate, truncate, "the voice prompt")
        name = os.fspath(source)
        key = (name, truncate, *_version(name))
        voice = self._known.get(key)
        if voice is None:
            voice = self._read_voice(name, truncate)
            while len(self._known) >= VOICES_KEPT:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = voice
        return voice

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
        max_tokens: int | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[np.ndarray]:
        """Speech in float32 blocks as they are made; closing it, or `stop`, ends the work."""
        settings.check(temperature, steps, noise_clamp, eos_threshold, frames_after_eos, max_tokens)
        sampling = settings.sampling(self.config, temperature, steps, noise_clamp, eos_threshold)
        jobs = self._jobs(text, _seed(seed), frames_after_eos, max_tokens)
        state = self.voice(voice)
        stop = stop or threading.Event()
        return stream.stream(self.params, self.config, state, jobs, sampling, stop, self._warm)

    def generate(self, text: str, voice: VoiceLike = None, **options: Any) -> np.ndarray:
        """The whole speech as float32 samples; options as for `stream`."""
        blocks = list(self.stream(text, voice, **options))
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def generate_batch(
        self,
        lines: Sequence[str],
        voice: VoiceLike | Sequence[VoiceLike] = None,
        *,
        seed: int | None | Sequence[int] = None,
        temperature: float | None = None,
        steps: int | None = None,
        noise_clamp: float | None = None,
        eos_threshold: float | None = None,
        frames_after_eos: int | None = None,
        max_tokens: int | None = None,
        stop: threading.Event | None = None,
    ) -> list[np.ndarray]:
        """Several texts side by side, one voice for all or one each; the same audio as one by one.

        Long texts are batched by their chunks too: the fastest way to much audio.
        """
        settings.check(temperature, steps, noise_clamp, eos_threshold, frames_after_eos, max_tokens)
        sampling = settings.sampling(self.config, temperature, steps, noise_clamp, eos_threshold)
        if isinstance(lines, str):
            raise ValueError("generate_batch takes a list of texts; for one text use generate")
        own = [self.voice(v) for v in _spread(voice, len(lines), "voice")]
        seeds = [_seed(s) for s in _spread(seed, len(lines), "seed")]
        rows = [  # (text, chunk), every chunk a row
            (number, job)
            for number, item in enumerate(lines)
            for job in self._jobs(item, seeds[number], frames_after_eos, max_tokens)
        ]
        order = sorted(range(len(rows)), key=lambda i: -rows[i][1].limit)  # alike beside alike
        stop = stop or threading.Event()
        waves = dict.fromkeys(order, np.zeros(0, np.float32))
        while order and not stop.is_set():
            count = next(n for n in BATCH_ROWS if n <= len(order))
            group, order = order[:count], order[count:]
            jobs = [rows[i][1] for i in group]
            states = [own[rows[i][0]] for i in group]
            made = drivers.batch(self.params, self.config, states, jobs, sampling, stop)
            waves.update(zip(group, made, strict=True))
        return [
            np.concatenate([waves[i] for i, row in enumerate(rows) if row[0] == number])
            for number in range(len(lines))
        ]

    def _jobs(self, text: str, seed: int, tail: int | None, max_tokens: int | None) -> list[Job]:
        texts.check_speakable(text)
        chunks = texts.chunks(text, self.tokenizer, self.config, max_tokens, tail)
        return [
            Job(c.tokens, c.frames_after_eos, c.max_frames, index, seed)
            for index, c in enumerate(chunks)
        ]

    def _fitting(self, voice: Voice) -> Voice:
        t = self.config.flow_lm.transformer
        found, need = len(voice.k), (t.num_layers, t.kv_heads, t.head_dim)
        if (found, voice.k[0].shape[0], voice.k[0].shape[2]) != need:
            raise ValueError(
                f"the voice was made with another model than {self.name}: it has {found} layers of "
                f"{voice.k[0].shape[0]} heads; make it with this model"
            )
        return voice

    def _default_voice(self) -> str:
        if self.name == bundled.NAME:
            return bundled.DEFAULT_VOICE
        return released.default_voice(self.name if self.released else None)

    def _read_voice(self, source: str, truncate: float | None) -> Voice:
        if not source:
            raise ValueError("the voice has no name; give one, a file or a URL")
        if self.name == bundled.NAME and _bare(source):
            source = str(bundled.voice(source))
        elif self.released and (source in released.VOICES or _bare(source)):
            source = released.voice_url(self.name, source)
        elif source in released.VOICES:
            raise ValueError(
                f"voice {source!r} belongs to the released models and {self.name} is not one: "
                "give an audio file, or a voice-state file made with this model"
            )
        if _suffix(source) == ".safetensors":
            return voices.read(hub.fetch(source, quiet=self.quiet), self.config.flow_lm)
        self._check_cloning()
        path = hub.fetch(source, quiet=self.quiet)
        return self._clone(*audio.read(path), truncate, str(path))

    def _clone(self, samples: np.ndarray, rate: int, truncate: float | None, name: str) -> Voice:
        self._check_cloning()
        wave = audio.prepare_prompt(samples, rate, self.sample_rate, truncate, name=name)
        return voices.clone(self.params, self.config, wave)

    def _check_cloning(self) -> None:
        if "encoder" not in self.params["codec"]:
            raise ValueError(
                f"{self.name} was written without the encoder, so it cannot clone a voice from "
                "audio: use a ready voice or a voice-state file, or write it again with the encoder"
            )
        if not self.voice_cloning:
            raise ValueError(
                f"{self.name} was loaded from public weights, which cannot clone a voice from "
                "audio: use a ready voice, or accept the terms on "
                "https://huggingface.co/kyutai/pocket-tts, run `hf auth login` and load it again"
            )


def load(
    model: str | Path = DEFAULT_MODEL,
    *,
    int8: bool | str | Sequence[str] | Int8 | None = None,
    bits: int = 8,
    group_size: int | None = None,
    quiet: bool = True,
) -> TTS:
    """Load a released model by name, any model by its YAML path or URL, a converted file, or
    "bundled", the small English one inside the package.

    `int8` quantises what it names: True (attention and ffn), "all", or any of attention, ffn, flow
    and codec, as "attention,ffn". `bits` is 8 or 4; `group_size` (32, 64, 128) is of input channels
    that share a scale, by default all. A file written by `python -m int8` needs none of them.
    """
    spec = quantization.parse(int8, bits, group_size)
    name = os.fspath(model)
    if name == bundled.NAME:
        name = str(bundled.model())
    if _suffix(name) == ".safetensors":
        return _load_file(name, spec, quiet)
    if _suffix(name) in (".yaml", ".yml"):
        try:
            described = hub.fetch(name, quiet=quiet).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name}: not a text file; give a model's YAML file") from None
        parsed = config.parse(described, name)
    elif name in released.names() or _bare(name):
        parsed = config.get(name)
    else:
        raise ValueError(
            f"{name!r} is not a model: give the name of a released one (see --list_models), a "
            ".yaml file or URL, or a converted .safetensors file"
        )
    table = parsed.flow_lm.lookup_table
    path = hub.fetch(table.tokenizer_path, quiet=quiet)
    tokenizer = texts.load_tokenizer(path, table.tokenizer, table.n_bins)
    loaded = weights.load(
        parsed, hub.fetch_first, cache_dir=hub.cache_dir(), quiet=quiet, int8=spec
    )
    return TTS(name, parsed, loaded.params, tokenizer, loaded.has_voice_cloning, quiet=quiet)


def _load_file(name: str, spec: Int8 | None, quiet: bool) -> TTS:
    file = weights.load_converted(hub.fetch(name, quiet=quiet), int8=spec, quiet=quiet)
    kind, payload = file.tokenizer
    n_bins = file.config.flow_lm.lookup_table.n_bins
    tokenizer = texts.tokenizer_from_bytes(kind, payload, n_bins, name)
    return TTS(file.name, file.config, file.params, tokenizer, file.voice_cloning, quiet=quiet)


def _bare(source: str) -> bool:
    """A name rather than a file or an address."""
    return re.fullmatch(r"[^/\\.]+", source) is not None and not Path(source).exists()


def _version(source: str) -> tuple[int, ...]:
    """What tells a local file from what it will be when it is written anew."""
    try:
        stat = Path(source).stat()
    except (OSError, ValueError):
        return ()
    return stat.st_mtime_ns, stat.st_size


def _samples(source: Any) -> np.ndarray:
    try:
        return np.asarray(source)
    except ValueError:
        raise ValueError(
            f"a voice is a name, a path, a URL or an array of samples, not {type(source).__name__}"
        ) from None


def _suffix(source: str) -> str:
    path = source.rpartition("@")[0] or source if source.startswith("hf://") else source
    return Path(path.split("?")[0] if "://" in source else path).suffix.lower()


def _seed(seed: int | None) -> int:
    return secrets.randbits(32) if seed is None else int(seed)


def _spread(value: Any, count: int, name: str) -> list[Any]:
    """One value for all, or one each."""
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name}: {len(value)} given for {count} texts; give one, or one each")
    return list(value)
