"""ptts-jax COMMAND ...: every command of the project under one name.

`ptts-jax speak` is `python -m ptts_jax.speak`, and so on: this file knows names only, so that a
list of the commands costs no import. Flags may be written with dashes or underscores.
"""

import re
import runpy
import sys

COMMANDS = {  # name -> (module that is run and its first words, what it does)
    "speak": ("ptts_jax.speak", "a text becomes speech"),
    "generate": ("ptts_jax.compat generate", "the same, with the flags of `pocket-tts generate`"),
    "export-voice": ("ptts_jax.compat export_voice", "a recording becomes a voice file"),
    "bulk": ("ptts_jax.bulk", "many lines become audio files, by one process or many"),
    "book": ("ptts_jax.book", "a book becomes audio with chapters"),
    "serve": ("ptts_jax.serve", "a local web server that speaks to many at once"),
    "mcp": ("ptts_jax.mcp", "an assistant speaks, by the Model Context Protocol"),
    "convert": ("convert", "a model of the original becomes one file, or the other way round"),
    "int8": ("int8", "a model in 8 bits, and what that does to it"),
    "bench": ("ptts_jax.bench", "how fast this machine speaks"),
    "train.data": ("ptts_jax.train.data", "a corpus to train on"),
    "train.codec": ("ptts_jax.train.codec", "the codec, trained"),
    "train.latents": ("ptts_jax.train.latents", "a corpus as the codec's latents"),
    "train.lm": ("ptts_jax.train.lm", "the language model, trained"),
    "train.distill": ("ptts_jax.train.distill", "a small language model taught by a large one"),
    "train.finetune": ("ptts_jax.train.finetune", "a model that speaks, trained on"),
    "train.export": ("ptts_jax.train.export", "what was trained, as a file that speaks"),
    "train.evaluate": ("ptts_jax.train.evaluate", "how well others understand and rate a model"),
}


def main() -> None:
    """Run the command that the arguments name, as if it had been started by itself."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        width = max(map(len, COMMANDS))
        lines = [f"  {name:{width}}  {does}" for name, (_, does) in COMMANDS.items()]
        print("\n".join(["ptts-jax COMMAND [FLAGS]; each has a --help of its own", "", *lines]))
    elif name in COMMANDS:
        module, *words = COMMANDS[name][0].split()
        sys.argv[1:] = words + _underscored(arguments)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.exit(f"error: {name!r} is no command; there are {', '.join(COMMANDS)}")


def _underscored(arguments: list[str]) -> list[str]:
    """Flags as the commands know them: --output-path=a-b is --output_path=a-b."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flag = re.compile(r"--[A-Za-z][\w-]*(?==|$)")
    named = [flag.sub(lambda found: "--" + found[0][2:].replace("-", "_"), a) for a in arguments]
    return named[:end] + arguments[end:]


if __name__ == "__main__":
    main()
