"""The command of the benchmark: one whole run on a tiny model, its files and its flags."""

import importlib.util
import json
import re
import wave

import pytest

import ptts_jax
from ptts_jax import text
from ptts_jax.bench import machine as bench_machine
from ptts_jax.bench import models as bench_models
from ptts_jax.bench.speed import command as bench
from ptts_jax.bench.speed import measure as bench_measure
from ptts_jax.bench.speed.measure import Sample
from tests.support.bench_samples import earlier, sample
from tests.support.mistakes import mistakes

pytestmark = pytest.mark.usefixtures("own_cache")


def call(*arguments: str) -> int:
    return bench.main(["bench", *arguments])


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """Everything that a run without a peer leaves."""
    output = tmp_path_factory.mktemp("runs")
    arguments = [f"--models={files.yaml}", "--configs=int8", "--peer=none", "--quick"]
    code = call(*arguments, "--runs=1", "--run_label=one", f"--output={output}")
    return code, output / "one"


@pytest.mark.slow
def test_a_run_leaves_results_a_table_and_the_audio(whole):
    code, folder = whole
    run = json.loads((folder / "results.json").read_text())
    assert (code, run["problems"]) == (0, [])
    assert run["weights"] == {"model": "its own"}
    assert run["command"].startswith("python -m ptts_jax.bench --models=")
    assert {"python", "jax", "jaxlib", "ptts_jax"} <= run["versions"].keys()
    assert run["machine"]["cpu"] and run["machine"]["cores"] >= len(run["threads"])
    table = (folder / "table.md").read_text()
    assert run["machine"]["cpu"] in table and "| first audio, short text | int8 |" in table
    names = {f"model-ours-int8-{prompt}.wav" for prompt in bench_models.PROMPTS}
    assert {path.name for path in (folder / "audio").iterdir()} == names


@pytest.mark.slow
def test_a_run_measures_every_figure(whole):
    _, folder = whole
    samples = [Sample(**s) for s in json.loads((folder / "results.json").read_text())["samples"]]
    cases = {f: {s.case for s in samples if s.figure == f} for f in {s.figure for s in samples}}
    assert cases == {
        **dict.fromkeys(("rtf", "first_audio", "spoken"), set(bench_models.PROMPTS)),
        **dict.fromkeys(("cold_start", "peak_memory", "file_size", "head"), {""}),
        "batch": {"long"},
        "prefill": {"64", "48", "32", "24", "16"},
        "step": {"100", "1000"},
        "decode": {"1", "2", "4", "8"},
    }
    assert all(s.value > 0 and (s.side, s.config) == ("ours", "int8") for s in samples)
    assert {s.round for s in samples if s.figure == "rtf"} == {1}  # the warm-up is not counted
    assert {s.round for s in samples if s.figure == "head"} == {1, 2, 3, 4, 5}


@pytest.mark.slow
def test_utterances_are_as_long_as_their_tokens_allow_whatever_eos_says(whole, files):
    _, folder = whole
    tts = ptts_jax.load(files.yaml)
    for name, prompt in bench_models.QUICK_PROMPTS.items():
        limits = [c.max_frames for c in text.chunks(prompt, tts.tokenizer, tts.config)]
        with wave.open(str(folder / "audio" / f"model-ours-int8-{name}.wav")) as file:
            assert file.getnframes() == sum(limits) * tts.config.mimi.frame_size
            assert file.getframerate() == 24000


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_measured(files, tmp_path, monkeypatch, capsys):
    def measure(subject, plan, record):
        record(sample(7.0))
        yield "a warning"
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_measure, "measure", measure)
    arguments = [f"--models={files.yaml}", "--peer=none", f"--output={tmp_path}"]
    assert call(*arguments, "--run_label=cut") == 130
    run = json.loads((tmp_path / "cut" / "results.json").read_text())
    assert [s["value"] for s in run["samples"]] == [7.0]
    assert [s["ours"]["median"] for s in run["summary"]] == [7.0]
    assert len(run["problems"]) == 2 and "interrupted" in run["problems"][1]
    shown = capsys.readouterr()
    assert "| 7x |" in shown.out and "warning: a warning" in shown.err
    assert call(*arguments, "--run_label=next", "--compare_run=cut") == 130
    assert "## Against cut" in (tmp_path / "next" / "table.md").read_text()


def test_problems_make_the_command_fail(files, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_measure, "measure", lambda *_: iter(["it broke"]))
    arguments = [f"--models={files.yaml}", "--peer=none", f"--output={tmp_path}"]
    assert call(*arguments, "--run_label=one") == 1
    (folder,) = tmp_path.iterdir()
    assert "it broke" in (folder / "table.md").read_text()


@mistakes(
    """
    --models=englisch  | --models: unknown model 'englisch'.*24l
    --models=none.yaml | --models: none.yaml is not a file
    --models=          | --models: name at least one
    --models=2m,2m     | --models: .*each once
    --configs=int9     | --configs: unknown 'int9'.*int8_all
    --runs=0           | runs.*see --help
    --threads=5000     | --threads 5000
    --peer=piper       | --peer: unknown 'piper'.*sherpa-onnx
    --peer=none,ptts   | --peer: unknown 'none'
    --peer=ptts,ptts   | --peer: .*each once
    --isa=sse          | --isa: unknown 'sse'.*avx512vnni
    --isa=avx2,avx2    | --isa: name each once
    --isa=avxvnni      | --isa: this processor lacks avxvnni .it can be held to avx2, avx512.
    --run_label=a/b    | --run_label a/b: use letters
    --run_label=there  | --run_label there: .*exists
    --compare_run=none | --compare_run none: no such run.*there are bad, good
    --compare_run=bad  | --compare_run bad: .*damaged
    english            | english: only flags
    --nonsense         | nonsense.*see --help
    """
)
def test_a_mistake_is_one_line_before_any_work(words, said, tmp_path, monkeypatch, capsys):
    flags = ["avx2", "fma", "avx512f", "avx512bw", "avx512vl"]
    monkeypatch.setattr(bench_machine, "machine", lambda: {"flags": flags})
    (tmp_path / "there").mkdir()
    for name, content in (("good", json.dumps(earlier())), ("bad", '{"samples": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(content)
    before = sorted(tmp_path.rglob("*"))
    assert call("--peer=none", f"--output={tmp_path}", *words) == 1
    shown = capsys.readouterr().err.strip()
    assert len(shown.splitlines()) == 1
    assert re.search(said, shown), shown
    assert sorted(tmp_path.rglob("*")) == before


def test_help_lists_the_flags(capsys):
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert "--run_label" in shown and "python -m ptts_jax.bench" in shown


def test_a_peer_that_is_not_here_is_left_out_with_a_line(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(bench_measure, "measure", lambda subject, plan, record: iter(plan.peers))
    arguments = [f"--models={files.yaml}", "--peer=pocket-tts,ptts,sherpa-onnx"]
    assert call(*arguments, f"--output={tmp_path}", "--run_label=one") == 0
    said = capsys.readouterr().err
    lines = json.loads((tmp_path / "one" / "results.json").read_text())["left_out"]
    assert [line.split()[0] for line in lines] == ["pocket-tts", "ptts", "sherpa-onnx"]
    assert "torch and pocket-tts not installed" in lines[0] and "pip install ptts" in lines[1]
    table = (tmp_path / "one" / "table.md").read_text()
    assert all(line in said and line in table for line in lines)


def test_the_processor_is_told(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_measure, "measure", lambda *_: iter([]))
    arguments = [f"--models={files.yaml}", "--peer=none", f"--output={tmp_path}"]
    assert call(*arguments, "--run_label=one") == 0
    said = next(line for line in capsys.readouterr().err.splitlines() if "processor: " in line)
    cpu = bench_machine.machine()["cpu"]
    assert cpu in said and said in (tmp_path / "one" / "table.md").read_text()
