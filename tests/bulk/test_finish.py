"""After the work: one index of all, and what is damaged is found and made again."""

import json
from pathlib import Path
from typing import Any

import pytest

from ptts_jax.bulk import finish, shards
from ptts_jax.bulk.job import Folder
from ptts_jax.bulk.progress import Progress, span
from tests.bulk.conftest import TEXTS, index, write


@pytest.fixture
def made(bulk, tmp_path):
    write(tmp_path / "lines.jsonl", [{"text": text} for text in TEXTS])
    assert bulk("lines.jsonl", "out")[0] == 0
    return Folder("out")


def test_merge_makes_one_index(bulk, made, tmp_path):
    code, err = bulk("lines.jsonl", "out", "--merge", "--verify")
    assert code == 0 and err.startswith("7 lines, 0.00 h of audio")
    merged = [json.loads(line) for line in (tmp_path / "out/index.jsonl").open()]
    assert [{k: v for k, v in r.items() if k != "shard"} for r in merged] == index(made.path)
    assert [record["shard"] for record in merged][2:4] == ["shard-000000", "shard-000001"]


def told(folder: Path) -> list[dict[str, Any]]:
    """The index but for digests: samples that XLA makes beside others differ in their last bits."""
    return [{k: v for k, v in record.items() if k != "sha256"} for record in index(folder)]


@pytest.mark.parametrize(
    ("part", "share"),  # how far into it: of a tar a header, a sound, and what fills a block up
    [
        *(("audio.tar", share) for share in (0.0, 0.35, 1.0)),
        ("index.jsonl", 0.3),
        ("shard.json", 0),
    ],
)
def test_what_is_damaged_is_set_aside_and_made_again(bulk, made, part, share):
    before = told(made.path)
    file = made.shard(1) / part
    data = bytearray(file.read_bytes())
    data[int(share * (len(data) - 1))] ^= 0x55
    file.write_bytes(data[: len(data) - 5] if part == "shard.json" else data)
    code, err = bulk("lines.jsonl", "out", "--verify")
    assert code == 1 and "damaged: shard-000001: " in err
    assert "1 shards were damaged and set aside" in err.splitlines()[-1]
    code, err = bulk("lines.jsonl", "out")
    assert code == 0 and "7 lines done, 3 of them now" in err
    assert bulk("lines.jsonl", "out", "--verify")[0] == 0 and told(made.path) == before


def test_a_count_that_is_not_that_of_the_index_is_damage(bulk, made):
    file = made.shard(1) / "shard.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"lines": about["lines"] + 1}))
    code, err = bulk("lines.jsonl", "out", "--verify")
    assert code == 1 and "damaged: shard-000001: 3 lines in its index, 4 were spoken" in err


def test_what_is_missing_is_said(bulk, made):
    made.set_aside(0)
    code, err = bulk("lines.jsonl", "out", "--merge")
    assert code == 1 and "1 shards are not done, shard-000000 the first; give the command" in err
    assert finish.count(made).missing == [0]


def test_ids_of_several_lines_are_told(bulk, tmp_path):
    write(tmp_path / "lines.jsonl", [{"text": "Hi.", "id": f"a{n % 3}"} for n in range(4)])
    assert bulk("lines.jsonl", "out")[0] == 0
    code, err = bulk("lines.jsonl", "out", "--verify")
    assert code == 0 and err.startswith("warning: 1 ids are those of several lines\n")


def test_a_full_disk_leaves_nothing_half_made(bulk, made, tmp_path, monkeypatch):
    """And what is done stays."""
    made.set_aside(2)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(shards._WRITERS, "tar", full)
    code, err = bulk("lines.jsonl", "out")
    said = "No space left on device; free some space\n"
    assert code == 1 and err.splitlines()[-1].startswith("error: cannot write out/.unfinished/")
    assert err.endswith(said)
    assert made.done() == {0, 1} and not any((tmp_path / "out/.claims").iterdir())


def test_progress_counts_what_all_have_done():
    now = 0.0
    progress = Progress(1000, quiet=True, clock=lambda: now)
    progress.others(400)
    assert str(progress) == "400 of 1,000 lines"
    now = 10.0
    for _ in range(100):
        progress.add(2.0, failed=False)
    progress.add(0.0, failed=True)
    assert (
        str(progress)
        == "501 of 1,000 lines, 1 failed, 3.3 min of audio at 20.0x real time, 49 s left"
    )
    progress.others(700)  # another process is quicker
    assert str(progress).endswith("5 s left")
    unknown = Progress(None, quiet=True, clock=lambda: now)
    unknown.add(1.0, failed=False)
    assert str(unknown).startswith("1 lines, 1 s of audio")


def test_spans_are_said_as_people_say_them():
    assert [span(x) for x in (3, 89, 95, 5400, 36000 * 9, 86400 * 40)] == [
        *("3 s", "89 s", "1.6 min", "1.5 h", "3.8 days", "40 days")
    ]
