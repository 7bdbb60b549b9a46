"""The rows of an evaluation: the teacher, the codec, the model, each saying the same sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptts_jax import audio
from ptts_jax.messages import say
from ptts_jax.train.data.corpus import Clip, Corpus
from ptts_jax.train.data.heldout_prose import PROSE
from ptts_jax.train.data.sentences import everyday
from ptts_jax.train.evaluate.judge import Asked, Row, Speech, judge
from ptts_jax.train.evaluate.judges import Judges

if TYPE_CHECKING:
    from ptts_jax.engine.voices import Voice
    from ptts_jax.model.config import MimiConfig
    from ptts_jax.tts import TTS

TEACHER, CODEC, MODEL = "teacher", "codec", "model"
INT8, CHECKED = "int8", "checked"
EVERYDAY, TOLD = "everyday", "prose"

Keep = Callable[[str, str, int, np.ndarray, int], None]  # row, speaker, number, wave, rate
Speak = Callable[[str, list[np.ndarray]], tuple[Iterable[np.ndarray], Sequence[bool]]]


@dataclass(frozen=True, eq=False)
class Hearing:
    """What is judged, by whom, and where it is kept."""

    corpus: Corpus
    clips: dict[str, Sequence[Clip]]  # by speaker
    judges: Judges
    keep: Keep | None = None


def kind(text: str) -> str | None:
    """Everyday, prose, or None: a sentence that a recogniser can't judge."""
    if text in PROSE:
        return TOLD
    return EVERYDAY if everyday(text) else None


def held_out(corpus: Corpus, speaker: str, count: int, prose: int = 0) -> tuple[Clip, ...]:
    """The first everyday sentences that are held out, and the first of ordinary prose."""
    by_kind: dict[str | None, list[Clip]] = {EVERYDAY: [], TOLD: [], None: []}
    for clip in corpus.select("heldout", speaker):
        by_kind[kind(clip.text)].append(clip)
    clips = (*by_kind[EVERYDAY][:count], *by_kind[TOLD][:prose])
    if not clips:
        raise ValueError(
            f"{corpus.path} holds no held-out sentence of {speaker} with 3 to 12 words and no digit"
        )
    return clips


def teacher_row(hearing: Hearing) -> Row:
    """The corpus' own audio: what all others are held against."""
    known = replace(hearing, judges=hearing.judges.remembering(hearing.corpus.path))
    return _row(TEACHER, known, hearing.corpus.sample_rate, lambda _, recorded: (recorded, ()))


def codec_row(params: dict[str, Any], config: MimiConfig, hearing: Hearing) -> Row:
    """The corpus' audio encoded and decoded again; `params` has `encoder` and `decoder`."""
    from ptts_jax.train.evaluate import speakers

    def speak(_: str, recorded: list[np.ndarray]) -> tuple[list[np.ndarray], Sequence[bool]]:
        rate = hearing.corpus.sample_rate
        waves = [audio.resample(w, rate, config.sample_rate) for w in recorded]
        return speakers.repeat(params, config, waves), ()

    return _row(CODEC, hearing, config.sample_rate, speak)


def model_row(name: str, tts: TTS, voices: dict[str, Voice], hearing: Hearing, seed: int) -> Row:
    """The model saying the same sentences, each with its own fixed seed; checked in that row."""
    from ptts_jax.train.evaluate import speakers

    def speak(speaker: str, recorded: list[np.ndarray]) -> tuple[list[np.ndarray], list[bool]]:
        lines = [clip.text for clip in hearing.clips[speaker]]
        say_all = speakers.speak_checked if name == CHECKED else speakers.speak
        spoken = say_all(tts, lines, voices[speaker], seed)
        return [s.wave for s in spoken], [s.ended for s in spoken]

    return _row(name, hearing, tts.sample_rate, speak)


def saver(out: Path) -> Keep:
    """Keeps what is heard as out/audio/ROW/SPEAKER-NN.wav."""

    def keep(row: str, speaker: str, number: int, wave: np.ndarray, rate: int) -> None:
        folder = out / "audio" / row
        folder.mkdir(parents=True, exist_ok=True)
        audio.write(folder / f"{speaker.replace('/', '_')}-{number:02d}.wav", wave, rate)

    return keep


def _row(name: str, hearing: Hearing, rate: int, speak: Speak) -> Row:
    sentences = []
    for speaker, chosen in hearing.clips.items():
        say(f"{name}: {len(chosen)} sentences of {speaker}")
        recorded = [hearing.corpus.audio(clip) for clip in chosen]
        waves, ended = speak(speaker, recorded)
        waves = list(waves)
        for number, wave in enumerate(waves if hearing.keep else ()):
            hearing.keep(name, speaker, number, wave, rate)
        asked = [Asked(clip.text, speaker, kind(clip.text) or EVERYDAY) for clip in chosen]
        speech, teacher = Speech(waves, rate, ended), Speech(recorded, hearing.corpus.sample_rate)
        sentences += judge(name, asked, speech, teacher, hearing.judges).sentences
    return Row(name, tuple(sentences))
