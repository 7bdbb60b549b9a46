"""python -m ptts_jax.speak: text in, speech out.

Flags, files and messages; the speech itself is made by the facade.
"""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags

import ptts_jax
from ptts_jax import audio, quantization, released
from ptts_jax import text as texts

FLAGS = flags.FlagValues()
USAGE = """Speak a text: python -m ptts_jax.speak [FLAGS] [TEXT]

TEXT `-`, or none on a pipe, reads standard input; none at all speaks a greeting.
"""


class _Groups(flags.ArgumentParser):
    """A switch that may take a value: --int8, --noint8, or --int8=attention,ffn."""

    def parse(self, argument: str) -> bool | str:
        choice = {"true": True, "false": False}.get(argument, argument)
        quantization.parse(choice)  # refuses what is no group
        return choice


def _define() -> None:
    def text(name: str, default: str | None, help: str) -> None:
        flags.DEFINE_string(name, default, help, flag_values=FLAGS)

    def number(name: str, help: str, **bounds: float) -> None:
        flags.DEFINE_float(name, None, help, flag_values=FLAGS, **bounds)

    def whole(name: str, default: int | None, help: str, **bounds: int) -> None:
        flags.DEFINE_integer(name, default, help, flag_values=FLAGS, **bounds)

    def switch(name: str, help: str) -> None:
        flags.DEFINE_bool(name, False, help, flag_values=FLAGS)

    text("model", "english", "a released model, a YAML path or URL, or a converted file")
    text("voice", None, "a name, an audio file to clone, a voice-state file, or a URL")
    text("output", "out.wav", "the audio file (WAV, FLAC, OGG by suffix), or - for stdout")
    text("text_file", None, "read the text from this file")
    number("temperature", "variance of the noise; the model's own if not given", lower_bound=0)
    whole("steps", None, "sampling steps per frame", lower_bound=1)
    whole("seed", None, "makes the speech repeatable")
    number("noise_clamp", "cut the noise at this value", lower_bound=0)
    number("eos_threshold", "higher: ends later")
    whole("frames_after_eos", None, "frames (80 ms) to go on after the end", lower_bound=0)
    whole("max_tokens", texts.MAX_TOKENS, "tokens per chunk of a long text", lower_bound=1)
    groups = "quantise attention and ffn; --int8=attention,ffn,flow,codec names others, or all"
    switch_or_value = flags.Flag(_Groups(), None, "int8", None, groups, boolean=True)
    flags.DEFINE_flag(switch_or_value, FLAGS)
    whole("bits", 8, "of a quantised weight: 8 or 4")
    whole("group_size", None, "input channels that share a scale: 32, 64 or 128; all if not given")
    text("export_voice", None, "write the voice as a .safetensors file, ready to use")
    switch("list_models", "list the released models")
    switch("list_voices", "list the ready voices")
    switch("quiet", "say nothing but errors")


_define()


def main(argv: list[str]) -> int:
    if "--help" in argv[1:] or "-h" in argv[1:]:
        print(USAGE + FLAGS.get_help())
        return 0
    try:
        words = FLAGS(argv)[1:]
        return _run(words)
    except flags.Error as error:
        return _fail(f"{' '.join(str(error).split())} (see --help)")
    except (ValueError, OSError) as error:
        return _fail(str(error))
    except audio.OutputClosed:
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", code=130)


def _fail(message: str, code: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _run(words: list[str]) -> int:
    if FLAGS.list_models or FLAGS.list_voices:
        names = released.names() if FLAGS.list_models else released.VOICES
        print("\n".join(names))
        return 0
    if FLAGS.export_voice and not FLAGS.export_voice.endswith(".safetensors"):
        raise ValueError(f"--export_voice {FLAGS.export_voice}: name a .safetensors file")
    text = _text(words)
    if text is not None:  # what can be known to be wrong is said before the work
        texts.check_speakable(text)
        audio.check_output(FLAGS.output)
    ptts_jax.use_compilation_cache()
    tts = ptts_jax.load(
        FLAGS.model,
        int8=FLAGS.int8,
        bits=FLAGS.bits,
        group_size=FLAGS.group_size,
        quiet=FLAGS.quiet,
    )
    voice = tts.voice(FLAGS.voice)
    if FLAGS.export_voice:
        voice.save(FLAGS.export_voice)
        _say(f"voice -> {FLAGS.export_voice}")
    if text is not None:
        _speak(tts, voice, text)
    return 0


def _text(words: list[str]) -> str | None:
    """What to say; None where the user wants only a voice exported."""
    if FLAGS.text_file is not None:
        if words:
            raise ValueError("--text_file: a text is given besides; give only one of them")
        try:
            return Path(FLAGS.text_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ValueError(f"--text_file {FLAGS.text_file}: {reason}") from None
    if words and words != ["-"]:
        return " ".join(words)
    if not words and FLAGS.export_voice:
        return None
    if words or not sys.stdin.isatty():
        try:
            return sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("standard input is not UTF-8 text") from None
    known = FLAGS.model in released.names()
    return released.default_text(FLAGS.model if known else None)


def _speak(tts: ptts_jax.TTS, voice: ptts_jax.Voice, text: str) -> None:
    start = time.monotonic()
    first = None
    with audio.open_writer(FLAGS.output, tts.sample_rate) as out:
        blocks = tts.stream(
            text,
            voice,
            seed=FLAGS.seed,
            temperature=FLAGS.temperature,
            steps=FLAGS.steps,
            noise_clamp=FLAGS.noise_clamp,
            eos_threshold=FLAGS.eos_threshold,
            frames_after_eos=FLAGS.frames_after_eos,
            max_tokens=FLAGS.max_tokens,
        )
        for block in _shown(blocks, tts.sample_rate):
            first = first or time.monotonic() - start
            out.write(block)
    took = time.monotonic() - start
    seconds = out.samples / tts.sample_rate - audio.TAIL  # without the closing silence
    _say(
        f"{seconds:.2f} s of audio in {took:.2f} s: {seconds / took:.1f}x real time, "
        f"first audio after {1000 * first:.0f} ms -> {out.name}"
    )


def _shown(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Counts the seconds on a terminal."""
    live, total = sys.stderr.isatty() and not FLAGS.quiet, 0
    try:
        for block in blocks:
            total += block.size
            if live:
                print(f"\r{total / rate:6.1f} s spoken", end="", file=sys.stderr, flush=True)
            yield block
    finally:
        if live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _say(message: str) -> None:
    if not FLAGS.quiet:
        print(message, file=sys.stderr)


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt  # `kill` leaves a valid file too


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main(sys.argv))
