"""The original's commands and flags, translated into those of ptts_jax.speak."""

from absl import flags

from ptts_jax import command, speak
from ptts_jax.compat.model import MAX_TOKENS
from ptts_jax.model import released

USAGE = """The commands of pocket-tts: python -m ptts_jax.compat generate [FLAGS]
python -m ptts_jax.compat export_voice AUDIO_FILE VOICE_FILE [FLAGS]
"""
# Names of the original -> names of ptts_jax.speak, where what is given is handed on as it is.
_SAME = {
    "voice": "voice",
    "temperature": "temperature",
    "sampler_decode_steps": "steps",
    "lsd_decode_steps": "steps",
    "noise_clamp": "noise_clamp",
    "eos_threshold": "eos_threshold",
    "frames_after_eos": "frames_after_eos",
    "max_tokens": "max_tokens",
    "output_path": "output",
}


def main(argv: list[str]) -> int:
    name = argv[1].replace("-", "_") if len(argv) > 1 else ""
    if name == "export_voice":
        return command.main(USAGE, _define, _export_voice, argv[1:], words=2)
    if name == "generate":
        return command.main(USAGE, _define_generate, _generate, argv[1:])
    if name in ("--help", "-h"):
        return command.print_lines([USAGE])
    return command.fail("name one of generate, export_voice (see --help)")


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("language", None, "a released model")
    add.text("config", None, "a model's YAML file: a path, an https:// or an hf:// address")
    add.switch("quiet", False, "say nothing but errors", short_name="q")


def _define_generate(values: flags.FlagValues) -> None:
    add = command.definers(values)
    _define(values)
    add.text("text", None, "what to say; - reads standard input; a greeting if not given")
    add.text("voice", None, "a ready voice, a recording to clone, or a voice file")
    add.text("checkpoint", None, "of a training of the original; not read here")
    add.text("sampler_decode_steps", "1", "sampling steps per frame")
    add.text("lsd_decode_steps", None, "the old name of --sampler_decode_steps")
    add.text("temperature", None, "variance of the noise; the model's own if not given")
    add.text("noise_clamp", None, "cut the noise at this value")
    add.text("eos_threshold", None, "higher: ends later; the model's own if not given")
    add.text("frames_after_eos", None, "frames to go on after the end")
    add.text("output_path", "./tts_output.wav", "the audio file, or - for standard output")
    add.text("device", "cpu", "where to compute")
    add.text("max_tokens", str(MAX_TOKENS), "tokens per chunk of a long text")
    add.switch("quantize", False, "products in int8")


def _export_voice(options: flags.FlagValues, words: list[str]) -> int:
    recording, voice = words
    return speak.main([*_shared(options), f"--voice={recording}", f"--export_voice={voice}"])


def _generate(options: flags.FlagValues, _: list[str]) -> int:
    return speak.main(translate(options))


def translate(options: flags.FlagValues) -> list[str]:
    """What `generate` is asked for, as the command line of ptts_jax.speak."""
    if options.checkpoint is not None:
        raise ValueError("--checkpoint: not read here; name exported weights in a --config")
    if options.device != "cpu":
        raise ValueError(f"--device {options.device}: only the cpu is understood")
    given = [(ours, options[name].value) for name, ours in _SAME.items()]
    out = _shared(options) + [f"--{name}={value}" for name, value in given if value is not None]
    out += ["--int8"] * options.quantize + ["--nocheck"]  # the original says a text once
    text = released.default_text(options.language) if options.text is None else options.text
    return [*out, text] if text == "-" else [*out, "--", text]


def _shared(options: flags.FlagValues) -> list[str]:
    if options.language is not None and options.config is not None:
        raise ValueError("--language and --config both name a model: give only one of them")
    model = options.config or options.language or released.names()[0]
    return ["speak", f"--model={model}", *["--quiet"] * options.quiet]
