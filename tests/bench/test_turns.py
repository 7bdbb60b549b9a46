"""Engines that take turns, played by stand-ins; processes and models of the benchmark."""

import json
import subprocess
import sys

import numpy as np
import pytest

import ptts_jax
from ptts_jax import text
from ptts_jax.bench import machine as bench_machine
from ptts_jax.bench import models as bench_models
from ptts_jax.bench import process as bench_process
from ptts_jax.bench import tokens as bench_tokens
from ptts_jax.bench.process import BenchError, Engine, Worker
from ptts_jax.bench.speed import measure as bench_measure
from ptts_jax.bench.speed.measure import Sample
from ptts_jax.model import config
from tests.support.bench_samples import plan

pytestmark = pytest.mark.usefixtures("own_cache")

VOCABULARY = " ".join(bench_models.PROMPTS.values())


# Engines that take turns, played by stand-ins.


class Actor:
    """Answers as a worker does, and remembers in which order it was asked."""

    log: list[tuple[str, str, str]] = []
    lengths = {"ours": 2400, "pocket-tts": 2400}
    fails: tuple[str, str] = ("", "")  # label and request
    limits: list[tuple[str, dict[str, str]]] = []

    def __init__(self, engine: Engine, cores: list[int], limits: dict[str, str]) -> None:
        self.engine = engine
        self.limits.append((engine.label, dict(limits)))

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
    monkeypatch.setattr(Actor, "limits", [])
    monkeypatch.setattr(bench_measure, "Worker", Actor)
    monkeypatch.setattr(bench_measure, "run", lambda command, label: open(command[5], "wb").close())

    def launch(command, cores, label, limits):
        Actor.log.append((label, "launch", command[-1]))
        return {"seconds": 1.0, "peak_bytes": 5_000_000, "code": 0}

    monkeypatch.setattr(bench_measure, "launch", launch)
    return Actor


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
    assert measured == [(side, turn) for turn in (1, 2, 3) for side in ("ours", "pocket-tts")]
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
    (alone,) = bench_measure.families(plan(tmp_path, configs=["int8"], peers=[]))
    assert [engine.side for engine in alone] == ["ours"]


def test_every_engine_is_held_to_each_instruction_set_in_turn(actors, subject, tmp_path):
    samples: list[Sample] = []
    work = plan(tmp_path, isas=["avx2", "avx512"], runs=1)
    assert list(bench_measure.measure(subject, work, samples.append)) == []
    assert [label for label, _ in actors.limits] == [
        "ptts_jax f32 avx2", "pocket-tts f32 avx2", "ptts_jax f32 avx512", "pocket-tts f32 avx512",
    ]  # fmt: skip
    ours, theirs = actors.limits[0][1], actors.limits[1][1]
    assert ours == {"INT8_ISA": "avx2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}
    assert theirs["ATEN_CPU_CAPABILITY"] == "avx2" and theirs["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert {s.isa for s in samples if s.side == "pocket-tts"} == {"avx2", "avx512"}


def test_unequal_lengths_are_reported(actors, subject, tmp_path, monkeypatch):
    monkeypatch.setattr(actors, "lengths", {"ours": 2400, "pocket-tts": 2399})
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
    work = plan(tmp_path, configs=["int4"], peers=[])
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
    once, name, options, out, text = command("pocket-tts", "int8", subject.weights)[-5:]
    assert (once, name, text) == ("once", "pocket-tts", "Hi.") and out == str(tmp_path / "out.wav")
    files = {"yaml": str(subject.yaml), "voice": str(subject.voice)}
    assert json.loads(options) == files | {"quantize": True}
    assert not json.loads(command("pocket-tts", "f32", subject.weights)[-3])["quantize"]


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


def test_weights_at_hand_are_used(files, monkeypatch, tmp_path):
    """Every source of a released model is taken for cached."""
    monkeypatch.setattr(bench_models.hub, "cached", lambda source: files.weights)
    found = bench_models.prepare("english")
    assert not found.random
    assert found.weights == found.voice == files.weights
    described = config.parse(found.yaml.read_text(), "english")
    assert described.weights_path == described.flow_lm.lookup_table.tokenizer_path
    assert described.weights_path_without_voice_cloning is None
