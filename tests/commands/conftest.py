"""The command `speak` in this process, in an empty folder, with a tiny model."""

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile

import ptts_jax
from ptts_jax import speak
from tests.support import tiny_files
from tests.support.fakehub import closed_url


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Of all that the commands keep."""
    return tmp_path_factory.mktemp("speak")


@pytest.fixture(scope="session")
def me(folder) -> Path:
    path = folder / "me.wav"
    soundfile.write(path, tiny_files.speech(1.3, rate=16000), 16000)
    return path


@pytest.fixture(scope="session")
def environment(folder) -> dict[str, str]:
    return {
        "PTTS_JAX_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": closed_url(),
        "PYTHONPATH": os.getcwd(),
    }


@pytest.fixture
def place(tmp_path, monkeypatch, environment) -> Path:
    """An empty working directory, and a process as it is before the command."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)  # is for the process
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    return tmp_path


@pytest.fixture
def run(place, files, me, capfd):
    """The command in this process: (code, standard output, standard error)."""

    def command(*words: str, model: bool = True) -> tuple[int, str, str]:
        own = ["--model", str(files.yaml), "--voice", str(me)] if model else []
        code = speak.main(["speak", *own, *map(str, words)])
        out, err = capfd.readouterr()
        return code, out, err

    return command


@pytest.fixture
def refuse(run, place):
    """One line on standard error, a failing code, and nothing left behind."""

    def refused(*words: str, **options: bool) -> str:
        before = sorted(place.rglob("*"))
        code, out, err = run(*words, **options)
        assert code == 1 and out == ""
        assert re.fullmatch(r"((converting the weights|compiling).*\n)*error: .+\n", err), err
        assert sorted(place.rglob("*")) == before
        return err

    return refused
