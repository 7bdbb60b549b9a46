"""A model, its tokenizer and its voices behind a few calls: `load`, `voice`, `stream`, `generate`.

Checks what a caller passes. The work is done by `engine`, files come from `store`.
"""

import functools
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ptts_jax import audio, bundled
from ptts_jax import text as texts
from ptts_jax.engine import effects, heads, parts, request, startup, stream, voices
from ptts_jax.engine.caches import Caches
from ptts_jax.engine.checks import Checked
from ptts_jax.engine.heads import NO_HEADS, Heads
from ptts_jax.engine.parts import Part
from ptts_jax.engine.request import Options
from ptts_jax.engine.speech import Utterance
from ptts_jax.engine.voice_store import VoiceStore
from ptts_jax.engine.voices import Voice
from ptts_jax.model import caches, config, released
from ptts_jax.model.config import Config
from ptts_jax.model.ear import Ear
from ptts_jax.store import converted, hub, quantization, weights
from ptts_jax.store.quantization import Int8
from ptts_jax.store.sources import is_name, is_pipe, suffix, version
from ptts_jax.text.reading import Manner

DEFAULT_MODEL = released.names()[0]
YAML = (".yaml", ".yml")

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
        ear: Ear | None = None,
        heads: str | None = None,
        cache: Any = "full",
        devices: Sequence[Any] = (),
        quiet: bool = True,
    ) -> None:
        self.name = name
        self.config = config
        self.params = params
        self.tokenizer = tokenizer
        self.voice_cloning = voice_cloning
        self.ear = ear  # hears whether a text was said, for the checks
        self.noted_heads = heads  # in the model's file
        self.quiet = quiet
        startup.check_process()
        self._voices = VoiceStore()
        self.caches = Caches(caches.find(cache))
        self._devices = devices

    @functools.cached_property
    def weights(self) -> list[dict[str, Any]]:
        """The parameters, and copies of them for the other devices."""
        return [self.params, *(jax.device_put(self.params, d) for d in self._devices[1:])]

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
        startup.check_process()
        if truncate is not None and not truncate > 0:
            raise ValueError(f"truncate {truncate}: give seconds above 0")
        if isinstance(source, Voice | voices.Mixture):
            voices.check_fits(source, self.config.flow_lm, self.name)
            return source
        source = self._default_voice() if source is None else source
        if not isinstance(source, str | os.PathLike):
            return self._clone(
                voices.samples(source), self.sample_rate, truncate, "the voice prompt"
            )
        name = os.fspath(source)
        mixed = voices.mixture(name, lambda part: self.voice(part, truncate=truncate))
        if mixed is not None:
            return mixed
        if is_pipe(name):  # what it holds can be read only once
            return self._read_voice(name, truncate)
        key = (name, truncate, *version(name))
        return self._voices.get(key, lambda: self._read_voice(name, truncate))

    def without_effect(self, options: Options) -> list[str]:
        """Names of the options given that change nothing of how this model speaks."""
        return effects.missing(self.params, self.config, options)

    def stream(
        self,
        text: str,
        voice: VoiceLike = None,
        *,
        stop: threading.Event | None = None,
        words: bool = False,
        checks: list[Checked] | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Speech in float32 blocks as they are made; closing it, or `stop`, ends the work.

        With `words` each block comes in a pair with the words (`engine.timing.Word`) whose times
        are known by then. With a list for `checks`, chunks come when they are whole, those that
        were said wrong are said again, and the list is told how each went.

        `options` are those of `engine.request.Options`: seed, temperature, steps, noise_clamp,
        eos_threshold, frames_after_eos, max_tokens and best_of; and those of `text.reading.Manner`,
        which are off: normalize, markup, language, lexicon, speed and loudness.
        """
        manner, options = Manner.apart(options)
        chosen, stop = Options.of(options), request.checked_stop(stop)
        utterance = self._utterance(text, voice, chosen, manner, words, checks)
        return stream.stream(self.weights, self.config, utterance, stop, self.caches)

    def generate(self, text: str, voice: VoiceLike = None, **options: Any) -> Any:
        """The whole speech as float32 samples; with `words`, in a pair with them."""
        loudness = Manner.apart(options)[0].loudness
        blocks = list(self.stream(text, voice, **{**options, "loudness": None}))
        words = [word for _, some in blocks for word in some] if options.get("words") else []
        blocks = [block for block, _ in blocks] if options.get("words") else blocks
        wave = self._levelled(np.concatenate([np.zeros(0, np.float32), *blocks]), loudness)
        return (wave, words) if options.get("words") else wave

    def _levelled(self, wave: np.ndarray, loudness: float | None) -> np.ndarray:
        return wave if loudness is None else audio.levelled(wave, self.sample_rate, loudness)

    def generate_batch(
        self,
        lines: Sequence[str],
        voice: VoiceLike | Sequence[VoiceLike] = None,
        *,
        seed: int | None | Sequence[int] = None,
        stop: threading.Event | None = None,
        words: bool = False,
        checks: list[list[Checked]] | None = None,
        **options: Any,
    ) -> list[Any]:
        """Several texts side by side, one voice for all or one each; the same audio as one by one.

        Long texts are batched by their chunks too: the fastest way to much audio. With `words` each
        text's samples come in a pair with its words; a list for `checks` gets a list for each text.
        The options are those of `stream`, and `seed` may be one for each text.
        """
        if isinstance(lines, str):
            raise ValueError("generate_batch takes a list of texts; for one text use generate")
        stop = request.checked_stop(stop)
        manner, options = Manner.apart(options)
        seeds = request.spread(seed, len(lines), "seed")
        chosen = [Options.of({**options, "seed": one}) for one in seeds]
        Options.of(options)  # refused even where there are no texts
        voices = [self.voice(v) for v in request.spread(voice, len(lines), "voice")]
        said, rows = [], []
        for line, voice, options in zip(lines, voices, chosen, strict=True):
            told = None if checks is None else []
            said.append(one := self._utterance(line, voice, options, manner, words, told))
            for part in parts.apart(one.parts):
                trying = one.trying and replace(one.trying, told=[])
                rows.append(replace(one, parts=[part], loudness=None, trying=trying))
        spoken = iter(stream.together(self.weights, self.config, rows, stop, self.caches))
        tried, waves = (row.trying for row in rows), []
        for one in said:
            wave, timed = parts.joined(one.parts, self.sample_rate, spoken)
            wave = self._levelled(wave, manner.loudness)
            waves.append((wave, timed) if words else wave)
            if checks is not None:
                chunks = [chunk for part in one.parts for chunk in part.jobs]
                checks.append([how for _ in chunks for how in next(tried).told])
        return waves

    @property
    def known_heads(self) -> Heads | None:
        """The heads that follow the text, where nobody has to be listened to."""
        return heads.known(self.name, self.config, self.noted_heads)

    def heads(self, planned: Sequence[Part]) -> Heads:
        """The heads that follow the text; found by its first voice where nobody knows them."""
        voice = next(part.voice for part in planned if part.jobs)
        of = self.name, self.params, self.config, self.tokenizer, voice.rows[0], self.caches
        return self.known_heads or heads.find(*of)

    def _utterance(
        self, text: str, voice: VoiceLike, options: Options, manner: Manner, words: bool, told: Any
    ) -> Utterance:
        """What the engine has to say for a text; `told` is the list of its checks."""
        named = lambda name: self.voice(voice if name is None else name)  # noqa: E731
        trying = effects.trying(self.params, self.config, options, told, self.ear)
        of = self.name, self.tokenizer, self.config
        planned = parts.plan(text, manner, options, named, *of, words or trying is not None)
        follow = self.heads(planned) if words or trying is not None else NO_HEADS
        return Utterance(planned, manner.loudness, follow, words, trying)

    def _default_voice(self) -> str:
        if self.name == bundled.NAME:
            return bundled.DEFAULT_VOICE
        if not self.released:
            raise ValueError(
                f"{self.name} has no voice of its own: name a recording to clone, or a voice-state "
                "file made with this model (--voice)"
            )
        return released.default_voice(self.name)

    def _read_voice(self, source: str, truncate: float | None) -> Voice:
        if not source:
            raise ValueError("the voice has no name; give one, a file or a URL")
        if self.name == bundled.NAME and is_name(source):
            source = str(bundled.voice(source))
        elif self.released and (source in released.VOICES or is_name(source)):
            source = released.voice_url(self.name, source)
        elif source in released.VOICES:
            raise ValueError(
                f"voice {source!r} belongs to the released models and {self.name} is not one: "
                "give an audio file, or a voice-state file made with this model"
            )
        if suffix(source) == ".safetensors":
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
    cache: Any = "full",
    device: Any = None,
    quiet: bool = True,
) -> TTS:
    """Load a model; the first time downloads and converts it.

    `model` is the name of a released model, "bundled" (the small English one inside the package), a
    YAML file in the format of the original (a path, an https:// or an hf:// address), or a file
    that `python -m convert` wrote.

    `int8` makes it smaller and faster: True quantises the attention and FFN weights, "all" every
    group there is, and "attention,ffn,flow" what it names (the groups are attention, ffn, flow and
    codec). `bits` is 8 or 4. `group_size` (32, 64 or 128) is how many input channels share a scale;
    by default all of them do. A file that `python -m int8` wrote needs none of the three.

    `cache` is how the model keeps its keys and values: a name of `ptts_jax.model.caches.NAMES`, or
    a class of one's own (or its "module:Class") as ptts_jax/model/caches/protocol.py describes it.

    `device` is where it computes: "cpu", "cuda", "tpu", one of several as "cuda:1", or a
    `jax.Device`; by default JAX's own choice. A list of them shares out the rows of a batch.

    `quiet=False` shows the progress of downloads and conversions on standard error.

    Load in the process that speaks: JAX does not survive os.fork. Where a program starts processes,
    let multiprocessing use "spawn" or "forkserver".
    """
    startup.check_process()
    devices = startup.find_devices(device)
    made_with = {"cache": caches.find(cache), "devices": devices, "quiet": quiet}
    spec = quantization.parse(int8, bits, group_size)
    how = {"int8": spec, "device": next(iter(devices), None), "quiet": quiet}
    name = os.fspath(model)
    if name == bundled.NAME:
        name = str(bundled.model())
    if suffix(name) == ".safetensors":
        return _load_file(name, how, made_with)
    if suffix(name) in YAML:
        try:
            described = hub.fetch(name, quiet=quiet).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name}: not a text file; give a model's YAML file") from None
        parsed = config.parse(described, name)
    elif name in released.names() or is_name(name):
        parsed = config.get(name)
    else:
        raise ValueError(
            f"{name!r} is not a model: give the name of a released one (see --list_models), a "
            ".yaml file or URL, or a converted .safetensors file"
        )
    table = parsed.flow_lm.lookup_table
    path = hub.fetch(table.tokenizer_path, quiet=quiet)
    tokenizer = texts.load_tokenizer(path, table.tokenizer, table.n_bins)
    loaded = weights.load(parsed, hub.fetch_first, cache_dir=hub.cache_dir(), **how)
    made = _model_name(name), parsed, loaded.params, tokenizer, loaded.has_voice_cloning
    return TTS(*made, **made_with)


def _load_file(name: str, how: dict[str, Any], made_with: dict[str, Any]) -> TTS:
    file = converted.load(hub.fetch(name, quiet=how["quiet"]), **how)
    kind, payload = file.tokenizer
    n_bins = file.config.flow_lm.lookup_table.n_bins
    tokenizer = texts.tokenizer_from_bytes(kind, payload, n_bins, name)
    made = file.name, file.config, file.params, tokenizer, file.voice_cloning
    return TTS(*made, ear=file.ear, heads=file.heads, **made_with)


def _model_name(source: str) -> str:
    """What a model is called: a released name, or that of its YAML file without the folders."""
    if "/" not in source and suffix(source) not in YAML:
        return source
    path = Path(re.split("[?@]", source)[0])
    taken = path.stem in (*released.names(), bundled.NAME)
    return path.name if taken else path.stem
