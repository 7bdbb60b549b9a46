"""The recipe of the next voice: its flags exist; what is done is left out, what broke is not."""

import importlib
import importlib.util
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from ptts_jax.train.run import command

SCRIPT = Path(__file__).parents[2] / "ptts_jax" / "bundled" / "make.sh"
STAGES = {"opus", "kokoro", "light", "corpus", "codec", "latents", "judged-codec"}
STAGES |= {"lm", "head", "bundled", "ear", "heard", "judging", "with-ear", "judged"}
TRAINED = STAGES - {"opus", "kokoro", "with-ear"}


@pytest.fixture
def make(tmp_path):
    """Runs the script with stand-ins for what fetches and trains, which note what they were told;
    the command that $FAILS names fails."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    note = f'echo "$@" >> {tmp_path}/'
    programs = {
        "curl": note + 'curl; for a; do [ "$b" = --output ] && echo > "$a"; b=$a; done',
        "sha256sum": "cat > /dev/null",
        "tar": "",
        "cp": "",
        "npm": note + "npm",
        "python": note + 'python; [ "$2" != "ptts_jax.train.$FAILS" ]',
    }
    for name, body in programs.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{body}\n")
        (bin_ / name).chmod(0o755)
    path = f"{bin_}:{os.environ['PATH']}"

    def run(fails=""):
        env = {**os.environ, "PATH": path, "PYTHON": "python", "SCALE": "1000", "FAILS": fails}
        line = [str(SCRIPT), str(tmp_path / "made")]
        return subprocess.run(line, env=env, capture_output=True, text=True)

    return run


def told(tmp_path, program):
    return (tmp_path / program).read_text().splitlines()


def test_every_stage_once(make, tmp_path, monkeypatch):
    assert make().returncode == 0
    assert {p.name for p in (tmp_path / "made" / "done").iterdir()} == STAGES
    commands = told(tmp_path, "python")
    assert len(commands) == len(TRAINED)
    again = make()
    assert again.returncode == 0 and again.stderr.count(": done") == len(STAGES)
    assert told(tmp_path, "python") == commands and len(told(tmp_path, "curl")) == 1

    parsed = []
    monkeypatch.setattr(
        command, "main", lambda usage, define, run, argv: parsed.append((define, argv))
    )
    for line in commands:
        _, module, *words = shlex.split(line)
        package = importlib.util.find_spec(module).submodule_search_locations
        importlib.import_module(f"{module}.__main__" if package else module).main([module, *words])
        define, argv = parsed[-1]
        values = command.flags.FlagValues()
        define(values)
        assert values(argv) == [module], "words that are no flags"


def test_a_stage_that_failed_is_run_again(make, tmp_path):
    broken = make(fails="latents")
    assert broken.returncode != 0 and broken.stderr.splitlines()[-1].startswith("latents: ")
    assert not (tmp_path / "made" / "done" / "latents").exists()
    assert make().returncode == 0
    commands = [line.split()[1].split(".")[-1] for line in told(tmp_path, "python")]
    assert commands[:4] == ["light", "data", "codec", "latents"]
    assert commands[4:] == [
        "latents",
        "evaluate",
        "lm",
        "lm",
        "export",
        "ear",
        "heard",
        "ear",
        "evaluate",
    ]


def test_without_a_folder_it_says_what_it_takes(make):
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
