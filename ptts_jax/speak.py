"""python -m ptts_jax.speak: text in, speech out.

Flags, files and messages; the speech itself is made by the facade.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while what follows loads, Ctrl-C just ends

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

import ptts_jax
from ptts_jax import audio, bundled, quantization, released, settings, startup
from ptts_jax import text as texts
from ptts_jax.hub import HubError
from ptts_jax.schema import near

if TYPE_CHECKING:
    from ptts_jax.tts import TTS
    from ptts_jax.voices import Voice

DEFAULT_MODEL = released.names()[0]
USAGE = """Speak a text: python -m ptts_jax.speak [FLAGS] [TEXT]

TEXT `-`, or none on a pipe, reads standard input; none at all speaks a greeting.
A text that begins with a dash goes behind `--`.
"""


class _Groups(flags.ArgumentParser):
    """A switch that may take a value: --int8, --noint8, or --int8=attention,ffn."""

    def parse(self, argument: str) -> bool | str:
        choice = {"true": True, "false": False}.get(argument, argument)
        quantization.parse(choice)  # refuses what is no group
        return choice


def _flags() -> flags.FlagValues:
    """The flags, with their defaults; new ones each time, since parsing changes them."""
    values = flags.FlagValues()

    def text(name: str, default: str | None, help: str) -> None:
        flags.DEFINE_string(name, default, help, flag_values=values)

    def number(name: str, help: str, **bounds: float) -> None:
        flags.DEFINE_float(name, None, help, flag_values=values, **bounds)

    def whole(name: str, default: int | None, help: str, **bounds: int) -> None:
        flags.DEFINE_integer(name, default, help, flag_values=values, **bounds)

    def switch(name: str, help: str) -> None:
        flags.DEFINE_bool(name, False, help, flag_values=values)

    text("model", DEFAULT_MODEL, "a released model, bundled, a YAML path, or a converted file")
    text("voice", None, "a name, an audio file to clone, a voice-state file, or a URL")
    text("output", "out.wav", "the audio file (WAV, FLAC, OGG by suffix), or - for stdout")
    text("text_file", None, "read the text from this file")
    number("temperature", "variance of the noise; the model's own if not given")
    whole("steps", None, "sampling steps per frame")
    whole("seed", None, "makes the speech repeatable")
    number("noise_clamp", "cut the noise at this value")
    number("eos_threshold", "higher: ends later; the model's own if not given")
    whole("frames_after_eos", None, "frames (80 ms) to go on after the end")
    whole("max_tokens", None, "tokens per chunk of a long text; the model's own if not given")
    groups = "quantise attention and ffn; --int8=attention,ffn,flow,codec names others, or all"
    switch_or_value = flags.Flag(_Groups(), None, "int8", None, groups, boolean=True)
    flags.DEFINE_flag(switch_or_value, values)
    whole("bits", 8, "of a quantised weight: 8 or 4")
    whole("group_size", None, "input channels that share a scale: 32, 64 or 128; all if not given")
    text("export_voice", None, "write the voice as a .safetensors file, ready to use")
    switch("list_models", "list the models that have a name")
    switch("list_voices", "list the ready voices of --model")
    switch("quiet", "say nothing but errors")
    return values


def main(argv: list[str]) -> int:
    options = _flags()
    try:
        if {"--help", "-h"} & set(argv[1 : argv.index("--") if "--" in argv else None]):
            return _list([USAGE, *_help(options)])
        return _run(options, _parse(options, argv))
    except flags.Error as error:
        return _fail(f"{error} (see --help)")
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except audio.OutputClosed:
        return 0
    except KeyboardInterrupt as stopped:
        _say(options, " ".join(["interrupted", *map(str, stopped.args)]))
        return 130


def _parse(options: flags.FlagValues, argv: list[str]) -> list[str]:
    """The words of the text. What looks like a flag and is none is a mistake, not text."""
    words = options(argv, known_only=True)[1:]
    end = words.index("--") if "--" in words else len(words)
    for word in words[:end]:
        if flag := re.match(r"--?([A-Za-z]\w*)(=|$)", word):
            hint = near(flag[1], options) or "; a text that begins with a dash goes behind --"
            raise flags.Error(f"unknown flag --{flag[1]}{hint}")
    return words[:end] + words[end + 1 :]


def _help(options: flags.FlagValues) -> Iterator[str]:
    width = max(map(len, options))
    for name in options:
        default = options[name].default
        shown = "" if default in (None, False) else f" (default: {default})"
        yield f"  --{name:{width}}  {options[name].help}{shown}"


def _list(lines: list[str]) -> int:
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # `| head`; Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(message: str) -> int:
    print(f"error: {'; '.join(message.splitlines())}", file=sys.stderr)
    return 1


def _say(options: flags.FlagValues, message: str) -> None:
    if not (options.is_parsed() and options.quiet):
        print(message, file=sys.stderr)


def _run(options: flags.FlagValues, words: list[str]) -> int:
    if options.list_models:
        return _list([*released.names(), bundled.NAME])
    if options.list_voices:
        return _list(bundled.voices() if options.model == bundled.NAME else released.VOICES)
    logging.getLogger("ptts_jax").setLevel(logging.ERROR if options.quiet else logging.NOTSET)
    text = _text(options, words)
    chosen = {name: options[name].value for name in settings.NAMES}
    settings.check(**chosen)  # what can be known to be wrong is said before the work
    if text is not None:
        texts.check_speakable(text)
    _check_targets(options, speaks=text is not None)
    startup.use_one_heap()
    ptts_jax.use_compilation_cache()
    tts, voice = _load(options)
    if options.export_voice is not None:
        voice.save(options.export_voice)
        _say(options, f"voice -> {options.export_voice}")
    if text is not None:
        blocks = tts.stream(text, voice, seed=options.seed, **chosen)
        _speak(options, blocks, tts.sample_rate)
    return 0


def _load(options: flags.FlagValues) -> tuple["TTS", "Voice"]:
    """The model and its voice; the bundled ones where the default model cannot be had."""
    how = {name: options[name].value for name in ("int8", "bits", "group_size", "quiet")}
    try:
        tts = ptts_jax.load(options.model, **how)
        name = options.voice
    except HubError as error:
        replaceable = options.model == DEFAULT_MODEL and options.export_voice is None
        if error.reason != "unreachable" or not replaceable or not bundled.available():
            raise
        _say(options, f"{error}; the bundled voice speaks instead")
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
    if speaks:
        audio.check_output(options.output)
        targets += [] if options.output == "-" else [Path(options.output)]
    for source in (options.voice, options.text_file, options.model):
        if source and os.path.exists(source):
            for target in targets:
                if target.exists() and target.samefile(source):
                    raise ValueError(f"{target}: would overwrite what is read; name another file")


def _speak(options: flags.FlagValues, blocks: Iterator[np.ndarray], rate: int) -> None:
    start = time.monotonic()
    first = 0.0
    out = audio.open_writer(options.output, rate)
    try:
        with out, contextlib.closing(blocks):
            for block in _shown(options, blocks, rate):
                first = first or time.monotonic() - start
                out.write(block)
    except KeyboardInterrupt:
        kept = [f"after {_spoken(out):.2f} s of audio -> {out.name}"] if out.samples else []
        raise KeyboardInterrupt(*kept) from None
    took = time.monotonic() - start
    _say(
        options,
        f"{_spoken(out):.2f} s of audio in {took:.2f} s: {_spoken(out) / took:.1f}x real time, "
        f"first audio after {1000 * first:.0f} ms -> {out.name}",
    )


def _spoken(out: audio.AudioWriter) -> float:
    """Seconds, without the closing silence."""
    return out.samples / out.rate - audio.TAIL


def _shown(
    options: flags.FlagValues, blocks: Iterator[np.ndarray], rate: int
) -> Iterator[np.ndarray]:
    """Counts the seconds on a terminal."""
    live, total = sys.stderr.isatty() and not options.quiet, 0
    try:
        for block in blocks:
            total += block.size
            if live:
                print(f"\r{total / rate:6.1f} s spoken", end="", file=sys.stderr, flush=True)
            yield block
    finally:
        if live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _listen_for_signals() -> None:
    """Ctrl-C and `kill` leave a valid file; pressed twice in a hurry is pressed once."""
    last = -1.0

    def interrupt(*_: object) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if before < 0 or last - before > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # not where it is ignored
        signal.signal(signal.SIGINT, interrupt)


if __name__ == "__main__":
    _listen_for_signals()
    sys.exit(main(sys.argv))
