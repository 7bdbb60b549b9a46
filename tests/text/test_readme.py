"""The examples of the folder's README, as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ptts_jax
from ptts_jax.text import reading

README = (Path(reading.__file__).parent / "README.md").read_text(encoding="utf-8")
SAID = """The five million dollar deal closed on March third at nine thirty a m.
une chanson dure deux minutes et demie.
It says 3 [sic].
kew tie reads sequel.
['One.'] []
['And', 'two.'] []
"""


@pytest.mark.slow
def test_every_example_runs(tmp_path):
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (bin / "python").chmod(0o755)
    root = Path(ptts_jax.__file__).parents[1]
    known = {"PATH": f"{bin}:{os.environ['PATH']}", "PYTHONPATH": str(root)}
    environment = {**os.environ, **known}
    commands = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = f"set -e\n{commands}\npython - <<'END'\n{code}\nEND\n"
    where = {"cwd": tmp_path, "env": environment}
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, **where)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == SAID
    written = {"marked.wav", "ssml.wav", "words.srt", "words.json", "best.wav"}
    assert written <= {path.name for path in tmp_path.iterdir()}
    assert "without effect" not in ran.stderr
