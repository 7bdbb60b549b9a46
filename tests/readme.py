"""python -m tests.readme CLONE PYTHON: runs every command of CLONE's README and every cell of its
notebooks, as a stranger would, in a terminal that nobody has prepared.

The hub is a fake one on this machine, serving the released models with random weights. PYTHON is
what the README's `python3` shall be.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from ptts_jax.engine import voices
from ptts_jax.model import config, released
from ptts_jax.store import hfhub
from tests import make_first_cells
from tests.support import fakeflite, tiny_files, tokens
from tests.support.fakehub import FakeHub

MODELS = ("english", "english_2m_2026-10")
# What makes hours of training seconds.
SMALL = {
    "ptts_jax.train.data": "--sentences=16",
    "ptts_jax.train.codec": "--steps=2 --batch=2 --frames=4",
    "ptts_jax.train.lm": "--steps=2 --batch=4 --width=32 --layers=2",
    "ptts_jax.serve": "--model=bundled --slots=1",
}


def serve(folder: Path) -> FakeHub:
    """The released models as the hub has them: repositories, paths and revisions."""
    files: dict = {}

    def put(source: str, path: Path) -> None:
        repo, name, revision = hfhub.parse(source)
        files.setdefault((repo, revision), {})[name] = path

    for model in MODELS:
        c = config.get(model)
        weights, voice = folder / f"{model}.safetensors", folder / f"{model}-voice.safetensors"
        tiny_files.write_weights(weights, tiny_files.params(c))
        put(c.weights_path, weights)
        table = c.flow_lm.lookup_table
        as_json = table.tokenizer_path.split("@")[0].endswith(".json")
        write = tokens.write_tokenizer_json if as_json else tokens.write_sentencepiece
        put(table.tokenizer_path, write(folder / f"{model}-{'t.json' if as_json else 't.model'}"))
        t = c.flow_lm.transformer
        rng = np.random.default_rng(0)
        shape = (t.kv_heads, 40, t.head_dim)
        layers = [rng.standard_normal(shape, np.float32) for _ in range(2 * t.num_layers)]
        voices.Voice(tuple(layers[::2]), tuple(layers[1::2])).save(voice)
        put(released.voice_url(model, "alba"), voice)
    return FakeHub(files)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def shortened(command: str) -> str:
    command, background = command.removesuffix(" &"), " &" * command.endswith(" &")
    more = (flags for name, flags in SMALL.items() if f" {name} " in command)
    return " ".join([command, *more]) + background


def script(notebook: Path, first_only: bool = False) -> str:
    """A notebook's cells as a program; what they ask of a shell is run by one."""
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    lines = ["import subprocess", "from functools import partial"]
    lines += ["shell = partial(subprocess.run, shell=True, check=True)"]
    for cell in cells[:1] if first_only else cells:
        for line in "".join(cell["source"]).splitlines():
            asked = line.startswith(("!", "%"))
            lines.append(f"shell({shortened(line[1:])!r})" if asked else line)
    return "\n".join(lines) + "\n"


def write_display(folder: Path) -> None:
    """The part of IPython that the notebooks use: it refuses what could not be heard."""
    (folder / "IPython").mkdir(parents=True)
    (folder / "IPython" / "__init__.py").touch()
    (folder / "IPython" / "display.py").write_text(
        "def Audio(samples, rate):\n"
        "    assert len(samples) > rate / 5 and abs(samples).max() > 0.001\n"
        "    return len(samples) / rate\n"
        "def display(seconds):\n"
        "    print(f'{seconds:.2f} s of sound')\n"
    )


def leading_to(clone: Path) -> dict[str, str]:
    """The environment in which git finds the clone at the repository's address."""
    rule = f"url.{clone.as_uri()}.insteadOf"
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": rule,
        "GIT_CONFIG_VALUE_0": make_first_cells.address(),
    }


def main(clone: Path, python: Path) -> None:
    text = (clone / "README.md").read_text()
    setup, tests, *more = blocks(text, "sh")
    with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch)) as hub:
        tools = Path(scratch) / "bin"
        tools.mkdir()
        # A script, since an environment would keep a link to a link that is gone afterwards.
        real = shlex.quote(str(python.resolve()))
        (tools / "python3").write_text(f'#!/bin/sh\nexec {real} "$@"\n')
        (tools / "python3").chmod(0o755)
        fakeflite.write(tools, seconds=6.0)  # long enough for any sentence
        path = os.pathsep.join([str(tools), os.environ["PATH"]])
        plain = os.environ | {"PATH": path}
        with_hub = plain | hub.environment(Path(scratch))
        python_in = f"{clone}/.venv/bin/python"

        def run(script: str, environment: dict[str, str] = with_hub) -> None:
            """In a shell of its own, as a new terminal is one; it prints what it runs."""
            subprocess.run(["bash", "-evc", script], cwd=clone, env=environment, check=True)

        # One terminal from the first command to the last, in which somebody has recorded me.wav.
        lines = [line for block in more for line in block.splitlines()]
        run("\n".join([setup, "cp hello.wav me.wav", *map(shortened, lines)]))
        spoken, rate = soundfile.read(clone / "hello.wav")
        assert rate == 24000 and len(spoken) > rate / 2, "nothing was spoken"
        for code in blocks(text, "python"):
            run(f"{python_in} - <<'END'\n{code}\nEND")
        write_display(Path(scratch) / "display")
        # A notebook's shell finds the programs of the environment that its kernel runs in.
        shown = with_hub | {
            "PYTHONPATH": f"{scratch}/display",
            "PATH": os.pathsep.join([str(Path(python_in).parent), path]),
        }
        from_git = f"ptts_jax @ git+{make_first_cells.address()}@"
        (alone := Path(scratch) / "alone").mkdir()
        for notebook in sorted((clone / "colab").glob("*.ipynb")):
            first = f"python - <<'END'\n{script(notebook, first_only=True)}END"
            checked = f"pip freeze | grep -F '{from_git}'"
            lines = [f"cd {alone}", "pip uninstall -q -y ptts_jax", first, checked]
            run("\n".join(lines), shown | leading_to(clone))
            run(f"cd colab && python - <<'END'\n{script(notebook)}END", shown)
        shutil.rmtree(clone / ".venv")  # the other command starts from nothing too
        run(tests, plain)  # they have hubs of their own


if __name__ == "__main__":
    # A shell's background job ignores Ctrl-C and would hand that down to the tests of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
