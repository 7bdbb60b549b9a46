"""python -m ptts_jax.mcp: an assistant speaks, by the Model Context Protocol on standard input.

Flags and messages; what the assistant may do is in ptts_jax/server/tools.py.
"""

import contextlib
import logging
from pathlib import Path

from absl import flags

import ptts_jax
from ptts_jax import command
from ptts_jax.audio import playing
from ptts_jax.engine import startup
from ptts_jax.messages import say
from ptts_jax.model import released
from ptts_jax.serve import load_model, voices_folder

USAGE = """Let an assistant speak: python -m ptts_jax.mcp [FLAGS]

The Model Context Protocol on standard input and output, with the tools speak, stop and voices. It
is started by the assistant's program, whose settings hold this command.
"""


def _define(values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, help: str) -> None:
        flags.DEFINE_string(name, default, help, flag_values=values)

    about = "a released model, bundled, a YAML path, or a converted file"
    text("model", released.names()[0], about)
    flags.DEFINE_bool("int8", True, "8-bit weights: quicker, and half the memory", values)
    text("voices", None, "a folder of voices")
    text("output", None, "the folder that files are written to; none if not given")


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv)


def _run(options: flags.FlagValues, _: list[str]) -> int:
    folder = voices_folder(options.voices)
    output = None if options.output is None else Path(options.output).expanduser()
    if output is not None and not output.is_dir():
        raise ValueError(f"--output {output}: there is no such folder; create it first")
    try:
        from ptts_jax.server import tools
        from ptts_jax.server.voices import Voices
    except ImportError as error:
        words = f"{error.name} is not installed; run pip install 'ptts_jax[mcp]'"
        raise ValueError(f"this needs more packages: {words}") from None
    player = None
    with contextlib.suppress(ValueError):
        player = playing.find()
    if player is None and output is None:
        say("nothing here can play sound: give --output, a folder for files")
    logging.getLogger("ptts_jax.text").setLevel(logging.ERROR)
    startup.use_one_heap()
    ptts_jax.use_compilation_cache()
    tts = load_model(options.model, options.int8)
    say(f"{tts.name}: ready")
    speaker = tools.Speaker(tts, Voices(tts, folder), output, player)
    with contextlib.suppress(KeyboardInterrupt):
        tools.build(speaker).run()
    return 0


if __name__ == "__main__":
    command.start(main)
