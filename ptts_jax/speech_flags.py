"""The flags that every command that speaks has: which model, in which voice, and how.

A flag, a field of a line and a keyword argument have the same names and the same checks: those of
`engine.request.Options` and `text.reading.Manner`.
"""

from dataclasses import fields
from typing import Any

from absl import flags

from ptts_jax import command
from ptts_jax.engine.request import Options, kind
from ptts_jax.model import released
from ptts_jax.store import quantization
from ptts_jax.text.reading import Manner

DEFAULT_MODEL = released.names()[0]


class _Groups(flags.ArgumentParser):
    """A switch that may take a value: --int8, --noint8, or --int8=attention,ffn."""

    def parse(self, argument: str) -> bool | str:
        choice = {"true": True, "false": False}.get(argument, argument)
        quantization.parse(choice)  # refuses what is no group
        return choice


def define_voice(values: flags.FlagValues) -> None:
    """--model and --voice."""
    add = command.definers(values)
    add.text("model", DEFAULT_MODEL, "a released model, bundled, a YAML path, or a converted file")
    add.text("voice", None, "a name, an audio file to clone, a voice-state file, or a URL")


def define_manner(values: flags.FlagValues, loudness: str) -> None:
    """How to speak; `loudness` is what that flag says of itself."""
    add = command.definers(values)
    for option in fields(Options):
        number = add.whole if kind(option) is int else add.number
        number(option.name, None, option.metadata["help"])
    add.number("speed", 1.0, "0.25 to 4, at the same pitch")
    add.number("loudness", None, loudness)
    add.switch("normalize", True, "say numbers, dates, signs and abbreviations in words")
    about = "obey [pause 0.8], [rate 1.2], [voice marius], [word](sound) and SSML"
    add.switch("markup", True, about)
    about = "of the numbers: en, fr, de, it, pt, es or nl; the model's if not given"
    add.text("language", None, about)
    about = "a file with a line `word = respelling` for each word to say otherwise"
    add.text("lexicon", None, about)


def define_int8(values: flags.FlagValues) -> None:
    """--int8, --bits and --group_size."""
    groups = "quantise attention and ffn; --int8=attention,ffn,flow,codec names others, or all"
    switch_or_value = flags.Flag(_Groups(), None, "int8", None, groups, boolean=True)
    flags.DEFINE_flag(switch_or_value, values)
    add = command.definers(values)
    add.whole("bits", 8, "of a quantised weight: 8 or 4")
    about = "input channels that share a scale: 32, 64 or 128; all if not given"
    add.whole("group_size", None, about)


def options(values: flags.FlagValues) -> Options:
    """How to generate, as the flags say it."""
    return Options(**{option.name: values[option.name].value for option in fields(Options)})


def manner(values: flags.FlagValues) -> Manner:
    """How to read, as the flags say it."""
    return Manner(**{field.name: values[field.name].value for field in fields(Manner)})


def int8(values: flags.FlagValues) -> dict[str, Any]:
    """How the weights are quantised, as `ptts_jax.load` takes it."""
    return {name: values[name].value for name in ("int8", "bits", "group_size")}
