"""The command `python -m int8 report`: tables, plots and mistakes."""

import json
import sys

import numpy as np
import pytest

import ptts_jax
from int8.__main__ import main
from ptts_jax.bench.int8 import policies, subject, tables
from ptts_jax.store import converted
from tests.support.mistakes import mistakes

TEXTS = ("Hello world.", "Please listen to the river.", "What a fine morning it is.")


# The command.


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    return path


def run(*arguments):
    return main(["int8", "report", *map(str, arguments)])


def test_a_report(files, texts, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    chosen = ["attention,ffn", "codec:4:32"]
    options = [files.yaml, "--texts", texts, "--seed", 3, "--policies", *chosen]
    assert run(*options, "--out", out) == 0
    captured = capsys.readouterr()
    document = (out / "report.md").read_text(encoding="utf-8")
    assert captured.out == document
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [p["name"] for p in found["policies"]] == chosen
    for policy in found["policies"]:
        assert f"| {policy['name']} | " in document
        assert len(policy["texts"]) == len(found["texts"]) == len(TEXTS)
        assert policy["megabytes"] < found["megabytes"]
        values = [text["forced_snr"] for text in policy["texts"]]
        assert policy["summary"]["forced_snr"]["median"]["value"] == np.median(values)
    spoken = ptts_jax.load(str(files.yaml), int8=True).params  # what is measured is what speaks
    assert found["policies"][0]["megabytes"] == policies.megabytes(spoken)
    assert {layer["group"] for layer in found["layers"]} == {"attention", "ffn", "codec"}
    for name, reason in found["policies"][1]["left"]:
        assert name in document and reason in document
    assert found["policies"][1]["left"], "the tiny decoder does not fit groups of 32"
    assert "2 of 2: codec:4:32" in captured.err and "synthetic hum" in captured.err
    again = tmp_path / "again"
    assert run(*options, "--out", again) == 0
    same = json.loads((again / "report.json").read_text(encoding="utf-8"))
    assert [same[key] for key in ("policies", "layers")] == [
        found[key] for key in ("policies", "layers")
    ]


def test_a_calibrated_policy_errs_less(files, texts, tmp_path, capsys):
    chosen = ["attention,ffn:4:32", "attention,ffn:4:32:calibrated"]
    out = tmp_path / "out"
    assert run(files.yaml, "--texts", texts, "--policies", *chosen, "--out", out) == 0
    found = json.loads((out / "report.json").read_text(encoding="utf-8"))
    summaries = [policy["summary"] for policy in found["policies"]]
    plain, calibrated = (s["forced_latent"]["median"]["value"] for s in summaries)
    assert calibrated < 0.9 * plain
    assert [p["format"] for p in found["policies"]] == ["4 bits by 32", "4 bits by 32, calibrated"]
    errors = {(layer["name"], layer["format"]): layer["output"] for layer in found["layers"]}
    names = {name for name, _ in errors}
    better = [n for n in names if errors[n, "4 bits by 32, calibrated"] < errors[n, "4 bits by 32"]]
    assert len(better) == len(names) > 0


def test_texts_that_need_chunks_are_several_utterances(files, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("A word and another, and then one more. " * 12, encoding="utf-8")
    long = subject.prepare(str(files.yaml), str(path))
    assert len(long.texts) == len(long.setup.jobs) > 1
    assert [job.index for job in long.setup.jobs] == list(range(len(long.texts)))


def test_an_interrupted_report_keeps_what_it_has(files, texts, tmp_path, monkeypatch, capsys):
    whole = policies.policy
    calls = []

    def policy(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(policies, "policy", policy)
    options = [files.yaml, "--texts", texts, "--policies", "flow", "ffn"]
    assert run(*options, "--out", tmp_path / "out") == 130
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [p["name"] for p in found["policies"]] == ["flow"]
    assert "interrupted" in capsys.readouterr().err


def test_plots(files, texts, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    assert run(files.yaml, "--texts", texts, "--policies", "flow", "ffn:4:32", "--out", out) == 0
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_plot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    problem = tables.plot({"policies": [{}]}, tmp_path / "x.png")
    assert "matplotlib is not installed" in problem and not list(tmp_path.iterdir())


def test_nothing_measured_is_said():
    assert tables.document({"policies": [], "layers": []}) == "Nothing was measured."


# Mistakes: one line each, before any work where that can be.


@mistakes(
    """
    --policies atention               | unknown int8 group 'atention'; did you mean attention
    --policies ffn all:5              | --policies all:5: bits 5
    --policies ffn:4:33               | --policies ffn:4:33: group_size 33
    --policies ffn:four               | --policies ffn:four: give GROUPS
    --policies ffn:4:32:1             | --policies ffn:4:32:1: give GROUPS
    --texts nowhere.txt               | --texts nowhere.txt: cannot be read (No such file
    --eos_threshold nan               | eos_threshold nan
    --voice nowhere.safetensors       | nowhere.safetensors
    """
)
def test_bad_arguments(files, words, said, capsys):
    assert run(files.yaml, *words) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and said in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text"),
        (b"fine\n...\n", "...: the text holds no letter"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_bad_texts(files, tmp_path, content, message, capsys):
    path = tmp_path / "texts"
    path.write_bytes(content)
    assert run(files.yaml, "--texts", path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--texts {path}" in line and message in line


def test_an_output_that_cannot_be(files, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(files.yaml, "--out", tmp_path / "file") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be a folder" in line


def test_models_that_cannot_be_reported_on(files, tmp_path, capsys):
    assert main(["int8", str(files.yaml), str(tmp_path / "q.safetensors"), "--groups", "ffn"]) == 0
    capsys.readouterr()
    assert run(tmp_path / "q.safetensors") == 1
    assert "is quantised already; give the float model" in capsys.readouterr().err
    tts = ptts_jax.load(files.yaml)
    mute = converted.of(tts, name="mute", voice_cloning=False)
    converted.save(tmp_path / "mute.safetensors", mute)
    assert run(tmp_path / "mute.safetensors") == 1
    assert "cannot clone one; give --voice" in capsys.readouterr().err
    assert run(tmp_path / "none.yaml") == 1
