"""The measurement of many lines: its lines, its table, and one whole run on a tiny model. What it
measures depends on the machine, and is not looked at."""

import json

import pytest

from ptts_jax.bench.bulk import command
from tests.support import tiny_files


def test_lines_are_short_and_differ():
    lines = list(command.lines(500, (3, 20)))
    assert len(set(lines)) > 490 and len(command.WORDS) > 100
    counts = [len(line.split()) for line in lines]
    assert min(counts) == 3 and max(counts) == 20


def test_a_row_says_what_was_reached():
    assert command._row("rate", 1.95)[-1] == "aim" and command._row("rate", 1.6)[-1] == "yes"
    assert command._row("memory", 2.0)[-1] == "yes" and command._row("memory", 4.0)[-1] == "no"


@pytest.mark.slow
def test_a_whole_run(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    model = tiny_files.write(tmp_path / "model")
    words = ["bulk", f"--model={model.yaml}", "--weights=f32", "--lines=30", "--memory_lines=200"]
    words += ["--parts=rate,memory,book"]
    assert command.main([*words, "--shard=10", f"--output={tmp_path / 'out'}"]) == 0
    run = json.loads((tmp_path / "out" / "bulk.json").read_text())
    assert set(run["figures"]) <= set(command.PARTS) and run["figures"]["book"] > 0
    assert run["figures"]["rate"] > 0 and len(run["memory"]) == 2
    out = capfd.readouterr().out
    assert "| side by side / one by one" in out and "| memory growth, % |" in out
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []


def test_mistakes(capfd, tmp_path):
    assert command.main(["bulk", "--parts=x", f"--output={tmp_path}"]) == 1
    assert "--parts: unknown 'x'" in capfd.readouterr().err
    for given in ("3", "9,3", "0,3", "a,b"):
        assert command.main(["bulk", f"--words={given}", f"--output={tmp_path}"]) == 1
        assert f"--words {given}: give the least and the most" in capfd.readouterr().err
