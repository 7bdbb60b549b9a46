"""From samples of speed to figures: ratios pair by pair, tables, plots."""

import sys

import pytest

from ptts_jax.bench.speed import report as bench_report
from ptts_jax.bench.speed.report import Spread
from tests.support.bench_samples import earlier, sample

PEER = "pocket-tts"


def row(samples, figure, config="f32") -> bench_report.Row:
    (found,) = (
        row
        for row in bench_report.summarize(samples)
        if (row.key.figure, row.key.config) == (figure, config)
    )
    return found


def test_medians_come_with_their_spread():
    assert bench_report.spread([9.0, 1.0, 2.0]) == Spread(2.0, 1.0, 9.0, 3)
    assert bench_report.spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0, 2)


def test_ratios_are_taken_pair_by_pair_and_not_of_medians():
    ours, peers = [10.0, 20.0, 60.0], [5.0, 4.0, 30.0]
    samples = [sample(x, i) for i, x in enumerate(ours, 1)]
    samples += [sample(x, i, side="pocket-tts") for i, x in enumerate(peers, 1)]
    found = row(samples, "rtf")
    assert (found.ours.median, found.peers[PEER].median) == (20.0, 5.0)
    assert found.ratios[PEER] == Spread(2.0, 2.0, 5.0, 3)  # of 2, 5 and 2; that of the medians is 4


def test_less_time_is_a_ratio_above_one():
    samples = [sample(10.0, figure="first_audio")]
    samples += [sample(25.0, figure="first_audio", side="pocket-tts")]
    assert row(samples, "first_audio").ratios[PEER].median == 2.5


def test_a_round_that_only_one_engine_finished_is_in_no_ratio():
    samples = [sample(10.0, 1), sample(5.0, 1, side="pocket-tts"), sample(1000.0, 2)]
    found = row(samples, "rtf")
    assert found.ratios[PEER] == Spread(2.0, 2.0, 2.0, 1)
    assert found.ours.count == 2
    assert row([sample(10.0, 1), sample(5.0, 2, side="pocket-tts")], "rtf").ratios == {}


def test_every_quantised_configuration_is_beside_the_one_quantised_peer():
    samples = [sample(x, config=name) for x, name in ((8.0, "int8"), (12.0, "int4"), (1.0, "f32"))]
    samples += [sample(4.0, config="int8", side="pocket-tts")]
    assert row(samples, "rtf", "int8").ratios[PEER].median == 2.0
    assert row(samples, "rtf", "int4").ratios[PEER].median == 3.0
    assert row(samples, "rtf", "f32").ratios == {}


def test_own_ratios_are_pair_by_pair_too():
    samples = [sample(x, i, figure="batch", case="long") for i, x in ((1, 30.0), (2, 40.0))]
    samples += [sample(x, i, case="long") for i, x in ((1, 10.0), (2, 20.0))]
    samples += [sample(x, i, figure="step", case="100") for i, x in ((1, 2.0), (2, 4.0))]
    samples += [sample(x, i, figure="step", case="1000") for i, x in ((1, 3.0), (2, 5.0))]
    assert row(samples, "batch_gain").ours == Spread(2.5, 2.0, 3.0, 2)
    assert row(samples, "step_growth").ours == Spread(1.375, 1.25, 1.5, 2)


def test_the_table_shows_units_spread_and_ratios():
    samples = [sample(x, i) for i, x in ((1, 10.0), (2, 12.0), (3, 14.0))]
    samples += [sample(4.0, i, side="pocket-tts") for i in (1, 2, 3)]
    samples += [sample(0.25, figure="cold_start", case="")]
    lines = bench_report.table(bench_report.summarize(samples)).splitlines()
    assert lines[0] == "## tiny"
    assert lines[4:] == [
        "| streaming, short text: times real time | f32 | 12x (10 to 14) | 4x (4 to 4) "
        "| 3 (2.5 to 3.5) |",
        "| process start to WAV written | f32 | 0.25 s |  |  |",
    ]
    assert bench_report.table([]) == "Nothing was measured."


def test_every_peer_has_columns_of_its_own():
    samples = [sample(10.0), sample(4.0, side="pocket-tts"), sample(5.0, side="ptts")]
    samples += [sample(30.0, figure="first_audio"), sample(60.0, figure="first_audio", side="ptts")]
    lines = bench_report.table(bench_report.summarize(samples)).splitlines()
    ratio = "ratio (more is better)"
    header = f"| figure | configuration | ptts_jax | pocket-tts | {ratio} | ptts | {ratio} |"
    assert lines[2] == header
    assert lines[4].endswith("| f32 | 10x | 4x | 2.5 | 5x | 2 |")
    assert lines[5].endswith("| f32 | 30 ms |  |  | 60 ms | 2 |")


def test_only_what_was_held_to_the_same_instruction_set_is_compared():
    samples = [sample(8.0, isa="avx2"), sample(12.0, isa="avx512")]
    samples += [sample(4.0, isa="avx2", side="pocket-tts"), sample(3.0, side="pocket-tts")]
    lines = bench_report.table(bench_report.summarize(samples)).splitlines()
    assert lines[4].endswith("| f32 avx2 | 8x | 4x | 2 |")
    assert lines[5].endswith("| f32 avx512 | 12x |  |  |")


RUN = {"label": "now", "machine": {"cpu": "A"}}


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
    assert "nothing" in bench_report.plot([], tmp_path / "steps.png")
    assert list(tmp_path.iterdir()) == []
