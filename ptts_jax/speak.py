"""python -m ptts_jax.speak: text in, speech out.

Flags, files and messages; `tts` makes the speech.
"""

import gc
import signal

if __name__ == "__main__":
    gc.disable()  # what follows loads makes no garbage; startup.collect_from_here takes this back
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # meanwhile Ctrl-C just ends

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

import ptts_jax
from ptts_jax import audio, bundled, command, speech_flags
from ptts_jax.audio import playing
from ptts_jax.engine import startup, subtitles
from ptts_jax.messages import on_terminal, say
from ptts_jax.model import released
from ptts_jax.store.hub import HubError
from ptts_jax.text import reading

if TYPE_CHECKING:
    from ptts_jax.engine.checks import Checked
    from ptts_jax.engine.request import Options
    from ptts_jax.engine.timing import Word
    from ptts_jax.engine.voices import Voice
    from ptts_jax.tts import TTS

USAGE = """Speak a text: python -m ptts_jax.speak [FLAGS] [TEXT]

TEXT `-`, or none on a pipe, reads standard input; none at all speaks a greeting.
A text that begins with a dash goes behind `--`.
"""


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    speech_flags.define_voice(values)
    kinds = ", ".join(audio.FORMATS)
    about = f"the audio file ({kinds}), or - for standard output; also -o"
    add.text("output", "out.wav", about, short_name="o")
    about = "play it aloud while it is made; a file comes only where --output names one"
    add.switch("play", False, about)
    add.text("text_file", None, "read the text from this file")
    about = "loudness in LUFS, as -16; exact in files, nearly so where it is heard while it is made"
    speech_flags.define_manner(values, about)
    add.text("timestamps", None, "write when each word is spoken: a .srt, .vtt or .json file")
    about = "say a sentence again, a few times, if words of it were skipped or repeated"
    add.switch("check", None, f"{about} (default: in files, of models whose heads are published)")
    add.switch("print_text", False, "print what would be said, and say nothing")
    speech_flags.define_int8(values)
    add.text("export_voice", None, "write the voice as a .safetensors file, ready to use")
    add.switch("list_models", False, "list the models that have a name")
    add.switch("list_voices", False, "list the ready voices of --model")
    about = "let the bundled voice speak where the default model cannot be had"
    add.switch("fallback", True, about)
    add.switch("quiet", False, "say nothing but errors and warnings")


def main(argv: list[str]) -> int:
    try:
        return command.main(USAGE, _define, _run, argv, words=None)
    except audio.OutputClosed:
        return 0


def _say(options: flags.FlagValues, message: str) -> None:
    if not options.quiet:
        say(message)


def _run(options: flags.FlagValues, words: list[str]) -> int:
    if options.list_models:
        return command.print_lines([*released.names(), bundled.NAME])
    if options.list_voices:
        known = bundled.voices() if options.model == bundled.NAME else released.VOICES
        return command.print_lines(known)
    for package in ("ptts_jax", "int8"):
        logging.getLogger(package).setLevel(logging.ERROR if options.quiet else logging.NOTSET)
    # The quiet too are told which characters are not spoken.
    logging.getLogger(reading.__name__).setLevel(logging.WARNING)
    text = _text(options, words)
    # What can be known to be wrong is said before the work.
    chosen, manner = speech_flags.options(options), speech_flags.manner(options)
    if text is not None:
        manner.segments(text)
    _check_targets(options, speaks=text is not None and not options.print_text)
    startup.use_one_heap()
    ptts_jax.use_compilation_cache()
    notice = "compiling, once for this machine and this kind of model ..."
    with startup.CompileWatch(lambda: _say(options, notice)) as watch:
        tts, voice = _load(options)
        startup.collect_from_here()
        if options.export_voice is not None:
            voice.save(options.export_voice)
            _say(options, f"voice -> {options.export_voice}")
        if text is not None and options.print_text:
            said = reading.read(text, manner, tts.name, tts.tokenizer)
            return command.print_lines([reading.shown(said)])
        if text is not None:
            _say_what_has_no_effect(options, tts, chosen)
            streams = options.play or options.output == "-"
            loudness = None if streams else manner.loudness  # files are levelled as a whole
            manner = manner if streams else replace(manner, loudness=None)
            timed, checked = options.timestamps is not None, _checked(options, tts, streams)
            how = {"words": timed, "checks": [] if checked else None, **vars(manner)}
            blocks = tts.stream(text, voice, **asdict(chosen), **how)
            _speak(options, blocks, tts.sample_rate, watch, loudness, how["checks"])
    return 0


def _say_what_has_no_effect(options: flags.FlagValues, tts: "TTS", chosen: "Options") -> None:
    ignored = tts.without_effect(chosen)
    if ignored == ["best_of"] and chosen.temperature == 0:
        _say(options, "--best_of: without effect at temperature 0")
    elif ignored:
        named = " and ".join(f"--{name}" for name in ignored)
        _say(options, f"{named}: without effect on this model")


def _checked(options: flags.FlagValues, tts: "TTS", streams: bool) -> bool:
    """Whether what is said shall be checked. Who listens is not kept waiting unasked."""
    if options.check is not None:
        return options.check
    published = tts.known_heads is not None and tts.noted_heads is None
    return published and not streams


def _load(options: flags.FlagValues) -> tuple["TTS", "Voice"]:
    """The model and its voice; the bundled ones where the default model cannot be had."""
    how = {**speech_flags.int8(options), "quiet": options.quiet}
    try:
        tts = ptts_jax.load(options.model, **how)
        name = options.voice
    except HubError as error:
        replaceable = options.model == speech_flags.DEFAULT_MODEL and options.export_voice is None
        replaceable = replaceable and options.fallback and bundled.available()
        if error.reason != "unreachable" or not replaceable:
            raise
        # Said to the quiet too: another voice is not what they asked for.
        say(f"warning: {error}; the bundled voice speaks instead (--nofallback refuses that)")
        tts = ptts_jax.load(bundled.NAME, **how)
        name = None if options.voice in released.VOICES else options.voice
    return tts, tts.voice(name)


def _text(options: flags.FlagValues, words: list[str]) -> str | None:
    """What to say; None where the user wants only a voice exported."""
    file = options.text_file
    if file is not None and words:
        raise ValueError("--text_file: a text is given besides; give only one of them")
    if words not in ([], ["-"]):
        return " ".join(words)
    if file is None and not words:
        if options.export_voice is not None:
            return None
        if sys.stdin is None or sys.stdin.isatty():
            known = options.model in released.names()
            return released.default_text(options.model if known else None)
    name = "standard input" if file in (None, "-") else f"--text_file {file}"
    try:
        payload = sys.stdin.buffer.read() if file in (None, "-") else Path(file).read_bytes()
        text = payload.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: not UTF-8 text; save it as such") from None
    if not text.strip():
        raise ValueError(f"{name} is empty: there is nothing to say")
    return text


def _check_targets(options: flags.FlagValues, speaks: bool) -> None:
    """What is wrong with an output is said before the work, and nothing that is read is lost."""
    targets = []
    if options.export_voice is not None:
        path = Path(options.export_voice)
        if path.suffix != ".safetensors":
            raise ValueError(f"--export_voice {path}: name a .safetensors file")
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise ValueError(f"--export_voice {path}: name a file in a folder that exists")
        targets.append(path)
    if speaks and options.play:
        playing.find()
    if speaks and _writes(options):
        audio.check_output(options.output)
        targets += [] if options.output == "-" else [Path(options.output)]
    if speaks and options.timestamps is not None:
        subtitles.check(options.timestamps)
        targets.append(Path(options.timestamps))
    for source in (options.voice, options.text_file, options.lexicon, options.model):
        if source and os.path.exists(source):
            for target in targets:
                if target.exists() and target.samefile(source):
                    raise ValueError(f"{target}: would overwrite what is read; name another file")


def _writes(options: flags.FlagValues) -> bool:
    """Whether there is to be a file: what is played needs none."""
    return not options.play or bool(options["output"].present)


def _speak(
    options: flags.FlagValues,
    blocks: Iterator[Any],
    rate: int,
    watch: startup.CompileWatch,
    loudness: float | None,
    checks: list["Checked"] | None,
) -> None:
    start, compiled = time.monotonic(), watch.seconds
    first, outs, words = 0.0, [], []
    waves = blocks if options.timestamps is None else _apart(blocks, words)
    try:
        with contextlib.ExitStack() as stack:
            if _writes(options):
                outs.append(stack.enter_context(audio.open_writer(options.output, rate)))
            stack.enter_context(contextlib.closing(blocks))
            if options.play:  # the last one in is the first to end
                outs.append(stack.enter_context(playing.Player(rate)))
            shown = _shown(options, waves, rate)
            for block in shown if loudness is None else _levelled(shown, rate, loudness):
                first = first or time.monotonic() - start
                for out in outs:
                    out.write(block)
    except KeyboardInterrupt as stopped:
        if outs and outs[0].samples:
            _write_words(options, words, checks)
            stopped.args = (f"after {_spoken(outs[0]):.2f} s of audio -> {outs[0].name}",)
        raise
    _write_words(options, words, checks)
    took, spoken = time.monotonic() - start, _spoken(outs[0])
    if watch.seconds > compiled:  # a figure of this would be of no other run
        how = f"{took:.2f} s, compiling included, which the next run need not do"
    elif options.play:
        how = f"{took:.2f} s, first audio after {1000 * first:.0f} ms"
    else:
        how = (
            f"{took:.2f} s: {spoken / took:.1f}x real time, first audio after {1000 * first:.0f} ms"
        )
    _say(options, f"{spoken:.2f} s of audio in {how} -> {', '.join(out.name for out in outs)}")


def _apart(blocks: Iterator[Any], words: list["Word"]) -> Iterator[np.ndarray]:
    """The waves of blocks that come with words, which are kept."""
    for wave, some in blocks:
        words += some
        yield wave


def _write_words(
    options: flags.FlagValues, words: list["Word"], checks: list["Checked"] | None
) -> None:
    if options.timestamps is not None:
        subtitles.write(options.timestamps, words, checks)
    for check in checks or ():
        for fault in check.faults:
            tries = f"{check.tries} tr{'y' if check.tries == 1 else 'ies'}"
            say(f"warning: {fault.kind} after {tries}: {fault.text!r}")
    if again := [check for check in checks or () if check.tries > 1]:
        _say(options, f"check: {len(again)} of {len(checks)} chunks were said again")


def _spoken(out: Any) -> float:
    """Seconds, without the closing silence of a file."""
    return out.samples / out.rate - audio.TAIL * isinstance(out, audio.AudioWriter)


def _levelled(blocks: Iterator[np.ndarray], rate: int, loudness: float) -> Iterator[np.ndarray]:
    """All of it at once, at exactly that loudness; after an interrupt what there is of it."""
    parts, interrupt = [np.zeros(0, np.float32)], None
    try:
        parts.extend(blocks)
    except KeyboardInterrupt as error:
        interrupt = error
    yield audio.levelled(np.concatenate(parts), rate, loudness)
    if interrupt is not None:
        raise interrupt


def _shown(
    options: flags.FlagValues, blocks: Iterator[np.ndarray], rate: int
) -> Iterator[np.ndarray]:
    """Counts the seconds on a terminal."""
    live, total = on_terminal() and not options.quiet, 0
    try:
        for block in blocks:
            total += block.size
            if live:
                say(f"\r{total / rate:6.1f} s spoken", end="")
            yield block
    finally:
        if live:
            say("\r\033[K", end="")


if __name__ == "__main__":
    command.start(main)
