"""A tiny model with a voice on disk, and the command on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ptts_jax
from ptts_jax.bulk.command import main
from tests.support import tiny_files

TEXTS = (
    "The river was wide, and nobody knew how deep it ran in spring.",
    "Three boats came down that morning! Was it 3.14 miles, or more?",
    "Hello.",
    "The oldest of the men said nothing at all about it.",
    "He looked at the water.",
    "Then he left.",
    "Nobody followed him.",
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.yaml, and voices a.safetensors and b.safetensors."""
    folder = tmp_path_factory.mktemp("bulk")
    tts = ptts_jax.load(tiny_files.write(folder).yaml)
    for seed, name in enumerate("ab"):
        tts.voice(tiny_files.speech(1.0, seed=seed)).save(folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def bulk(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Callable:
    """The command in an empty folder: (code, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)

    def run(*words: str, voice: str = "a") -> tuple[int, str]:
        flags = [f"--model={model / 'model.yaml'}", f"--voice={model / voice}.safetensors"]
        code = main(["bulk", *flags, "--shard=3", *words])
        return code, capfd.readouterr().err

    return run


def write(path: Path, lines: list[Any]) -> Path:
    """A file of JSON lines; what is a text already stays as it is."""
    rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(rows) + "\n")
    return path


def index(folder: Path) -> list[dict[str, Any]]:
    """All objects of the index, in the order of the shards."""
    files = sorted(folder.glob("shard-*/index.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
