"""The benchmark with the reference beside us: both speak the same files for the same time."""

import importlib.metadata
import json
import wave

import pytest

from ptts_jax.bench import models as bench_models
from ptts_jax.bench.speed import command as bench
from ptts_jax.bench.speed.measure import Sample
from tests.support import oracle

PEER = "pocket-tts"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[int, dict, dict[str, int]]:
    """Exit code, results, and the lengths of the audio."""
    folder = tmp_path_factory.mktemp("bench")
    yaml = oracle.build("english", 0, folder / "files").yaml
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
        arguments = ["bench", f"--models={yaml}", "--configs=f32,int8", "--quick", "--runs=1"]
        arguments += ["--peer=pocket-tts"]
        code = bench.main([*arguments, "--run_label=one", f"--output={folder}"])
    lengths = {}
    for path in (folder / "one" / "audio").iterdir():
        with wave.open(str(path)) as file:
            lengths[path.stem] = file.getnframes()
    return code, json.loads((folder / "one" / "results.json").read_text()), lengths


def test_both_engines_make_as_many_samples(run):
    code, results, lengths = run
    assert (code, results["problems"]) == (0, [])
    for prompt in bench_models.PROMPTS:
        sides = [(side, name) for side in ("ours", PEER) for name in ("f32", "int8")]
        counts = {lengths[f"model-{side}-{name}-{prompt}"] for side, name in sides}
        assert len(counts) == 1 and counts != {0}
    assert results["versions"]["pocket-tts"] == importlib.metadata.version("pocket-tts")


def test_engines_take_turns(run):
    _, results, _ = run
    samples = [Sample(**s) for s in results["samples"]]
    order = [(s.config, s.side) for s in samples if s.figure == "rtf"]
    turn = ["ours", PEER] * len(bench_models.PROMPTS)
    assert order == [(name, side) for name in ("f32", "int8") for side in turn]


def test_every_shared_figure_has_a_ratio(run):
    _, results, _ = run
    shared = {"rtf", "first_audio", "cold_start", "peak_memory", "file_size"}
    for row in results["summary"]:
        assert (PEER in row["ratios"]) == (row["figure"] in shared), row["figure"]
        if row["ratios"] and row["ratios"][PEER]["count"] == 1:
            ours, peer = row["ours"]["median"], row["peers"][PEER]["median"]
            more = row["figure"] == "rtf"
            assert row["ratios"][PEER]["median"] == pytest.approx(
                ours / peer if more else peer / ours
            )
