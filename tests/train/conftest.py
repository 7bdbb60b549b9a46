"""A synthesiser that is a script, little for it to say, and teachers that are stand-ins."""

import pytest

from ptts_jax.train.data import command as data
from ptts_jax.train.data import recipe, sentences
from tests.support import fakeflite, faketeachers


@pytest.fixture
def installed(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    fakeflite.write(folder)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def small(monkeypatch):
    """Little to say, in parts of four clips."""
    monkeypatch.setattr(recipe, "_bible_lines", list)
    monkeypatch.setattr(sentences, "fortunes", list)
    monkeypatch.setattr(recipe, "SENTENCES", ("He is here.", "She is at home."))
    monkeypatch.setattr(recipe, "HELD_OUT_MADE", 2)
    monkeypatch.setattr(data, "PART", 4)


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """Stand-ins of piper and kokoro; the folder of kokoro's voices."""
    folder = tmp_path / "packages"
    folder.mkdir()
    faketeachers.install(monkeypatch, folder)
    return folder
