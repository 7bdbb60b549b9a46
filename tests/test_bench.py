"""The benchmark: its arithmetic, its files and flags, and one whole run on a tiny model. What it
measures depends on the machine, and is not looked at."""

import dataclasses
import json
import re
import subprocess
import sys
import wave

import numpy as np
import pytest

import ptts_jax
from ptts_jax import config, text
from ptts_jax.bench import command as bench
from ptts_jax.bench import machine as bench_machine
from ptts_jax.bench import measure as bench_measure
from ptts_jax.bench import models as bench_models
from ptts_jax.bench import process as bench_process
from ptts_jax.bench import report as bench_report
from ptts_jax.bench import tokens as bench_tokens
from ptts_jax.bench.measure import Plan, Sample
from ptts_jax.bench.process import BenchError, Engine, Worker
from ptts_jax.bench.report import Spread
from tests import tiny_files

VOCABULARY = " ".join(bench_models.PROMPTS.values())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tiny_files.Files:
    return tiny_files.write(tmp_path_factory.mktemp("tiny") / "files")


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTTS_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))  # no model is at hand
        yield


def call(*arguments: str) -> int:
    return bench.main(["bench", *arguments])


# From samples to figures.


def sample(value, round=1, *, side="ours", figure="rtf", case="short", config="f32") -> Sample:
    return Sample("tiny", side, config, figure, case, round, value)


def row(samples, figure, config="f32") -> bench_report.Row:
    (found,) = (
        row
        for row in bench_report.summarize(samples)
        if (row.figure, row.config) == (figure, config)
    )
    return found


def test_medians_come_with_their_spread():
    assert bench_report.spread([9.0, 1.0, 2.0]) == Spread(2.0, 1.0, 9.0, 3)
    assert bench_report.spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0, 2)


def test_ratios_are_taken_pair_by_pair_and_not_of_medians():
    ours, peers = [10.0, 20.0, 60.0], [5.0, 4.0, 30.0]
    samples = [sample(x, i) for i, x in enumerate(ours, 1)]
    samples += [sample(x, i, side="peer") for i, x in enumerate(peers, 1)]
    found = row(samples, "rtf")
    assert (found.ours.median, found.peer.median) == (20.0, 5.0)
    assert found.ratio == Spread(2.0, 2.0, 5.0, 3)  # of 2, 5 and 2; that of the medians is 4


def test_less_time_is_a_ratio_above_one():
    samples = [sample(10.0, figure="first_audio")]
    samples += [sample(25.0, figure="first_audio", side="peer")]
    assert row(samples, "first_audio").ratio.median == 2.5


def test_a_round_that_only_one_engine_finished_is_in_no_ratio():
    samples = [sample(10.0, 1), sample(5.0, 1, side="peer"), sample(1000.0, 2)]
    found = row(samples, "rtf")
    assert found.ratio == Spread(2.0, 2.0, 2.0, 1)
    assert found.ours.count == 2
    assert row([sample(10.0, 1), sample(5.0, 2, side="peer")], "rtf").ratio is None


def test_every_quantised_configuration_is_beside_the_one_quantised_peer():
    samples = [sample(x, config=name) for x, name in ((8.0, "int8"), (12.0, "int4"), (1.0, "f32"))]
    samples += [sample(4.0, config="int8", side="peer")]
    assert row(samples, "rtf", "int8").ratio.median == 2.0
    assert row(samples, "rtf", "int4").ratio.median == 3.0
    assert row(samples, "rtf", "f32").ratio is None


def test_own_ratios_are_pair_by_pair_too():
    samples = [sample(x, i, figure="batch", case="long") for i, x in ((1, 30.0), (2, 40.0))]
    samples += [sample(x, i, case="long") for i, x in ((1, 10.0), (2, 20.0))]
    samples += [sample(x, i, figure="step", case="100") for i, x in ((1, 2.0), (2, 4.0))]
    samples += [sample(x, i, figure="step", case="1000") for i, x in ((1, 3.0), (2, 5.0))]
    assert row(samples, "batch_gain").ours == Spread(2.5, 2.0, 3.0, 2)
    assert row(samples, "step_growth").ours == Spread(1.375, 1.25, 1.5, 2)


def test_the_table_shows_units_spread_and_ratios():
    samples = [sample(x, i) for i, x in ((1, 10.0), (2, 12.0), (3, 14.0))]
    samples += [sample(4.0, i, side="peer") for i in (1, 2, 3)]
    samples += [sample(0.25, figure="cold_start", case="")]
    lines = bench_report.table(bench_report.summarize(samples)).splitlines()
    assert lines[0] == "## tiny"
    assert lines[4:] == [
        "| streaming, short text: times real time | f32 | 12x (10 to 14) | 4x (4 to 4) "
        "| 3 (2.5 to 3.5) |",
        "| process start to WAV written | f32 | 0.25 s |  |  |",
    ]
    assert bench_report.table([]) == "Nothing was measured."


RUN = {"label": "now", "machine": {"cpu": "A"}}


def earlier(*samples: Sample, cpu: str = "A") -> dict:
    found = [dataclasses.asdict(s) for s in samples]
    return {"label": "before", "machine": {"cpu": cpu}, "samples": found}


def test_an_earlier_run_is_compared_figure_by_figure():
    now = [sample(20.0), sample(50.0, figure="first_audio"), sample(1.0, figure="head", case="")]
    before = earlier(sample(10.0), sample(100.0, figure="first_audio"), sample(7.0, case="long"))
    lines = bench_report.compare(bench_report.summarize(now), RUN, before).splitlines()
    assert lines[0] == "## Against before"
    assert [line.split("|")[-2].strip() for line in lines[4:]] == ["2", "2"]
    other = bench_report.compare(bench_report.summarize(now), RUN, earlier(*now, cpu="B"))
    assert "another machine: B" in other


def test_a_run_with_nothing_in_common_says_so():
    now = bench_report.summarize([sample(1.0)])
    assert "Nothing" in bench_report.compare(now, RUN, earlier(sample(1.0, case="long")))


def test_a_plot_is_drawn_of_step_times(tmp_path):
    pytest.importorskip("matplotlib", reason="an extra")
    steps = [sample(x, figure="step", case=case) for case, x in (("1000", 3.0), ("100", 2.0))]
    assert bench_report.plot(bench_report.summarize(steps), tmp_path / "steps.png") is None
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    rows = bench_report.summarize([sample(2.0, figure="step", case="100")])
    assert "matplotlib is not installed" in bench_report.plot(rows, tmp_path / "steps.png")
    assert "no step" in bench_report.plot([], tmp_path / "steps.png")
    assert list(tmp_path.iterdir()) == []


# Engines that take turns, played by stand-ins.


class Actor:
    """Answers as a worker does, and remembers in which order it was asked."""

    log: list[tuple[str, str, str]] = []
    lengths = {"ours": 2400, "peer": 2400}
    fails: tuple[str, str] = ("", "")  # label and request

    def __init__(self, engine: Engine, cores: list[int]) -> None:
        self.engine = engine

    def ask(self, do: str, **request) -> dict:
        if (self.engine.label, do) == self.fails:
            raise BenchError(f"{self.engine.label}: broken")
        self.log.append((self.engine.label, do, request.get("text", "")))
        if do == "stages":
            return {"step": {str(filled): [1.0, 2.0] for filled in request["fills"]}}
        samples = self.lengths[self.engine.side]
        return {"samples": samples, "rate": 24000, "seconds": 0.05, "first": 0.01}

    def close(self) -> None:
        self.log.append((self.engine.label, "close", ""))


@pytest.fixture
def actors(monkeypatch):
    monkeypatch.setattr(Actor, "log", [])
    monkeypatch.setattr(bench_measure, "Worker", Actor)
    monkeypatch.setattr(bench_measure, "run", lambda command, label: open(command[5], "wb").close())

    def launch(command, cores, label):
        Actor.log.append((label, "launch", command[-1]))
        return {"seconds": 1.0, "peak_bytes": 5_000_000, "code": 0}

    monkeypatch.setattr(bench_measure, "launch", launch)
    return Actor


@pytest.fixture
def subject(tiny) -> bench_models.Subject:
    return bench_models.prepare(str(tiny.yaml))


def plan(tmp_path, **changes) -> Plan:
    common = {"configs": ["f32"], "peer": True, "runs": 3, "prompts": {"short": "a", "long": "b"}}
    common |= {"fills": (1,), "repeats": 1, "cores": [], "audio": tmp_path}
    return Plan(**common | changes)


def test_engines_alternate_text_by_text_and_launch_by_launch(actors, subject, tmp_path):
    samples: list[Sample] = []
    assert list(bench_measure.measure(subject, plan(tmp_path), samples.append)) == []
    spoken = [(label, words) for label, do, words in actors.log if do == "speak"]
    turn = [("ptts_jax f32", "a"), ("pocket-tts f32", "a")]
    turn += [("ptts_jax f32", "b"), ("pocket-tts f32", "b")]
    assert spoken == 4 * turn  # a warm-up and three rounds
    launched = [label for label, do, _ in actors.log if do == "launch"]
    assert launched == 4 * ["ptts_jax f32", "pocket-tts f32"]
    measured = [(s.side, s.round) for s in samples if (s.figure, s.case) == ("rtf", "short")]
    assert measured == [(side, turn) for turn in (1, 2, 3) for side in ("ours", "peer")]
    assert {s.value for s in samples if s.figure == "rtf"} == {2.0}
    closed = [i for i, (_, do, _) in enumerate(actors.log) if do == "close"]
    first = next(i for i, (_, do, _) in enumerate(actors.log) if do == "launch")
    assert len(closed) == 2 and max(closed) < first  # a cold start has the machine for itself


def test_all_quantised_configurations_take_turns_with_one_peer(tmp_path):
    found = bench_measure.families(plan(tmp_path, configs=["int4", "f32", "int8"]))
    labels = [[engine.label for engine in family] for family in found]
    assert labels == [
        ["ptts_jax f32", "pocket-tts f32"],
        ["ptts_jax int4", "pocket-tts int8", "ptts_jax int8"],
    ]
    (alone,) = bench_measure.families(plan(tmp_path, configs=["int8"], peer=False))
    assert [engine.side for engine in alone] == ["ours"]


def test_unequal_lengths_are_reported(actors, subject, tmp_path, monkeypatch):
    monkeypatch.setattr(actors, "lengths", {"ours": 2400, "peer": 2399})
    problems = list(bench_measure.measure(subject, plan(tmp_path), lambda _: None))
    assert len(problems) == 2 and "not the same number of samples" in problems[0]
    assert "pocket-tts f32 2399" in problems[0]


@pytest.mark.parametrize("request_", ["load", "speak", "stages"])
def test_an_engine_that_fails_costs_no_more_than_its_own(
    actors, subject, tmp_path, monkeypatch, request_
):
    monkeypatch.setattr(actors, "fails", ("ptts_jax int8", request_))
    samples: list[Sample] = []
    work = plan(tmp_path, configs=["int8", "int4"])
    problems = list(bench_measure.measure(subject, work, samples.append))
    assert problems == ["model: ptts_jax int8: broken"]
    rounds = [s.config for s in samples if (s.figure, s.case, s.side) == ("rtf", "long", "ours")]
    assert rounds.count("int4") == 3
    assert len([1 for _, do, _ in actors.log if do == "close"]) == 3


def test_quantised_files_are_made_with_the_options_of_the_configuration(
    actors, subject, tmp_path, monkeypatch
):
    commands = []

    def run(command, label):
        commands.append(command)
        raise BenchError(f"{label}: no such flag")

    monkeypatch.setattr(bench_measure, "run", run)
    work = plan(tmp_path, configs=["int4"], peer=False)
    problems = list(bench_measure.measure(subject, work, lambda _: None))
    assert problems == ["model: ptts_jax int4: no such flag"]
    assert commands[0][-3:] == ["--groups=attention,ffn", "--bits=4", "--group_size=32"]


def test_a_cold_start_is_what_a_user_types(subject, tmp_path):
    def command(side: str, name: str, file) -> list[str]:
        out = tmp_path / "out.wav"
        return bench_measure.cold_command(subject, Engine(side, name), file, out, "Hi.")

    own = command("ours", "f32", subject.weights)
    assert own[1:4] == ["-P", "-m", "ptts_jax.speak"] and own[-1] == "Hi."
    assert f"--model={subject.yaml}" in own and f"--voice={subject.voice}" in own
    packed = command("ours", "int8", tmp_path / "packed.safetensors")
    assert f"--model={tmp_path / 'packed.safetensors'}" in packed
    assert command("peer", "int8", subject.weights)[-3:-1] == ["True", str(tmp_path / "out.wav")]
    assert command("peer", "f32", subject.weights)[-3] == "False"


# Processes.


def test_a_failing_request_is_one_line_that_names_the_engine():
    worker = Worker(Engine("ours", "f32"), [])
    try:
        with pytest.raises(BenchError, match=r"^ptts_jax f32: AttributeError: .*nonsense"):
            worker.ask("nonsense")
        with pytest.raises(BenchError, match=r"^ptts_jax f32: .*none\.yaml"):
            worker.ask("load", yaml="none.yaml", voice="", options={})
        worker._process.kill()
        with pytest.raises(BenchError, match="ended with code -9 .at 'speak'"):
            worker.ask("speak", text="")
    finally:
        worker.close()


def test_a_launch_measures_the_memory_of_its_command_alone():
    ballast = np.ones(60_000_000, np.uint8)  # ours, and not to be counted
    small = bench_process.launch([sys.executable, "-I", "-c", "pass"], [], "small")
    hungry = [sys.executable, "-I", "-c", "x = b'x' * 100_000_000"]
    large = bench_process.launch(hungry, [], "large")
    assert small["peak_bytes"] < ballast.nbytes
    assert 100e6 < large["peak_bytes"] < 160e6
    assert small["seconds"] > 0


def test_a_launch_that_fails_says_why():
    command = [sys.executable, "-I", "-c", "raise SystemExit('no voice')"]
    with pytest.raises(BenchError, match=r"^it: no voice \(code 1\)$"):
        bench_process.launch(command, [], "it")
    with pytest.raises(BenchError, match=r"^it: .*No such file"):
        bench_process.launch(["/nowhere"], [], "it")
    with pytest.raises(BenchError, match=r"^it: no voice"):
        bench_process.run(command, "it")


def test_both_engines_are_kept_on_the_same_cores():
    cores = bench_machine.cores(1)
    show = "import os; print(sorted(os.sched_getaffinity(0)), file=open({!r}, 'w'))"
    assert cores == bench_machine.cores(None)[:1]
    with pytest.raises(ValueError, match="--threads 5000: there are"):
        bench_machine.cores(5000)
    if cores:
        seen = subprocess.run(
            [*bench_process.script("launch.py"), str(cores[0]), sys.executable, "-c",
             show.format("/dev/stderr")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert seen.stderr.strip() == str(cores)


# Models.


def test_both_kinds_of_tokenizer_agree_and_cut_texts_as_the_released_ones_do(tmp_path):
    made = bench_tokens.write_sentencepiece(tmp_path / "a.model", VOCABULARY, 4000)
    model = text.load_tokenizer(made, "sentencepiece", 4000)
    made = bench_tokens.write_json(tmp_path / "a.json", VOCABULARY, 4000)
    other = text.load_tokenizer(made, "tokenizers", 4000)
    for prompt in bench_models.PROMPTS.values():
        tokens = model.encode(prompt)
        assert tokens == other.encode(prompt)
        assert model.decode(tokens) == other.decode(tokens) == prompt
        assert 1.0 < len(tokens) / len(prompt.split()) < 1.5
    assert model.encode("ß") == other.encode("ß")  # by bytes
    with pytest.raises(ValueError, match="300 pieces"):
        bench_tokens.vocabulary(VOCABULARY, 300)


def test_prompts_are_what_they_are_called(tmp_path):
    assert len(bench_models.PROMPTS["100-character"]) == 100
    made = bench_tokens.write_sentencepiece(tmp_path / "a.model", VOCABULARY, 4000)
    tokenizer = text.load_tokenizer(made, "sentencepiece", 4000)
    counts = {
        name: len(text.chunks(prompt, tokenizer, config.get("english")))
        for name, prompt in bench_models.PROMPTS.items()
    }
    assert counts == {"short": 1, "100-character": 1, "long": 8}  # a full batch


def test_a_model_that_is_not_at_hand_is_drawn_once():
    first = bench_models.prepare("2m")
    assert first.random and first.name == "2m"
    drawn = first.weights.stat().st_mtime_ns
    assert bench_models.prepare("2m") == first
    assert first.weights.stat().st_mtime_ns == drawn
    tts = ptts_jax.load(first.yaml)
    assert tts.config.flow_lm.transformer == config.get("english_2m_2026-10").flow_lm.transformer
    assert tts.voice(first.voice).length == bench_models.VOICE_SLOTS


def test_weights_at_hand_are_used(tiny, monkeypatch, tmp_path):
    """Every source of a released model is taken for cached."""
    monkeypatch.setattr(bench_models.hub, "cached", lambda source: tiny.weights)
    found = bench_models.prepare("english")
    assert not found.random
    assert found.weights == found.voice == tiny.weights
    described = config.parse(found.yaml.read_text(), "english")
    assert described.weights_path == described.flow_lm.lookup_table.tokenizer_path
    assert described.weights_path_without_voice_cloning is None


# The command.


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """Everything that a run without a peer leaves."""
    output = tmp_path_factory.mktemp("runs")
    arguments = [f"--models={tiny.yaml}", "--configs=int8", "--peer=none", "--quick"]
    code = call(*arguments, "--runs=1", "--run_label=one", f"--output={output}")
    return code, output / "one"


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


def test_utterances_are_as_long_as_their_tokens_allow_whatever_eos_says(whole, tiny):
    _, folder = whole
    tts = ptts_jax.load(tiny.yaml)
    for name, prompt in bench_models.QUICK_PROMPTS.items():
        limits = [c.max_frames for c in text.chunks(prompt, tts.tokenizer, tts.config)]
        with wave.open(str(folder / "audio" / f"model-ours-int8-{name}.wav")) as file:
            assert file.getnframes() == sum(limits) * tts.config.mimi.frame_size
            assert file.getframerate() == 24000


def test_ctrl_c_leaves_what_was_measured(tiny, tmp_path, monkeypatch, capsys):
    def measure(subject, plan, record):
        record(sample(7.0))
        yield "a warning"
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_measure, "measure", measure)
    arguments = [f"--models={tiny.yaml}", "--peer=none", f"--output={tmp_path}"]
    assert call(*arguments, "--run_label=cut") == 130
    run = json.loads((tmp_path / "cut" / "results.json").read_text())
    assert [s["value"] for s in run["samples"]] == [7.0]
    assert [s["ours"]["median"] for s in run["summary"]] == [7.0]
    assert len(run["problems"]) == 2 and "interrupted" in run["problems"][1]
    shown = capsys.readouterr()
    assert "| 7x |" in shown.out and "warning: a warning" in shown.err
    assert call(*arguments, "--run_label=next", "--compare_run=cut") == 130
    assert "## Against cut" in (tmp_path / "next" / "table.md").read_text()


def test_problems_make_the_command_fail(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_measure, "measure", lambda *_: iter(["it broke"]))
    arguments = [f"--models={tiny.yaml}", "--peer=none", f"--output={tmp_path}"]
    assert call(*arguments, "--run_label=one") == 1
    (folder,) = tmp_path.iterdir()
    assert "it broke" in (folder / "table.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models=englisch"], "--models: unknown model 'englisch'.*24l"),
        (["--models=none.yaml"], "--models: none.yaml is not a file"),
        (["--models="], "--models: name at least one"),
        (["--models=2m,2m"], "--models: .*each once"),
        (["--configs=int9"], "--configs: unknown configuration 'int9'.*int8_all"),
        (["--runs=0"], "runs.*see --help"),
        (["--threads=5000"], "--threads 5000"),
        (["--peer=piper"], "peer.*see --help"),
        (["--run_label=a/b"], "--run_label a/b: use letters"),
        (["--run_label=there"], "--run_label there: .*exists"),
        (["--compare_run=none"], "--compare_run none: no such run.*there are bad, good"),
        (["--compare_run=bad"], "--compare_run bad: .*damaged"),
        (["english"], "english: only flags"),
        (["--nonsense"], "nonsense.*see --help"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(arguments, message, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    for name, content in (("good", json.dumps(earlier())), ("bad", '{"samples": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(content)
    before = sorted(tmp_path.rglob("*"))
    assert call("--peer=none", f"--output={tmp_path}", *arguments) == 1
    shown = capsys.readouterr().err.strip()
    assert len(shown.splitlines()) == 1
    assert re.search(message, shown), shown
    assert sorted(tmp_path.rglob("*")) == before


def test_help_lists_the_flags(capsys):
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert "--run_label" in shown and "python -m ptts_jax.bench" in shown


def test_without_the_reference_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    assert bench._peer_installed() is False
    assert "torch and pocket_tts not installed" in capsys.readouterr().err
