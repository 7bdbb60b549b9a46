"""Killed at any moment, by several processes at once: every line is there once, and little is done
again."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptts_jax
from ptts_jax.bulk import finish
from ptts_jax.bulk.job import Folder
from ptts_jax.bulk.reading import Source
from tests.bulk import worker
from tests.bulk.conftest import index, write

ROOT = Path(ptts_jax.__file__).parents[1]
LINES = 60


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "lines.txt").write_text("".join(f"Line {n}.\n" for n in range(1, LINES + 1)))
    return tmp_path


@contextlib.contextmanager
def working(seconds: float = 0.01) -> Iterator[subprocess.Popen]:
    """A process that has begun to work."""
    program = [sys.executable, "-m", "tests.bulk.worker", "lines.txt", "out", str(seconds)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def spoken() -> list[int]:
    log = Path("spoken.log")
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def check_all_is_there_once(kills: int) -> None:
    assert [record["line"] for record in index(Path("out"))] == list(range(1, LINES + 1))
    found = finish.verify(Folder("out"))
    assert found.damaged == [] and found.missing == [] and found.twice == 0
    assert len(spoken()) <= LINES + kills * worker.SHARD, (
        "more than a shard was repeated for a kill"
    )
    assert sorted(set(spoken())) == list(range(1, LINES + 1))


def killed_again_and_again(kills: int, seconds: float) -> None:
    rng = random.Random(kills)
    for _ in range(kills):
        with working(seconds) as process:
            time.sleep(rng.uniform(0, 40 * seconds))
            process.kill()
    with working(0) as process:
        assert process.wait(60) == 0
    check_all_is_there_once(kills)


def test_kills_lose_nothing_and_double_nothing(place):
    killed_again_and_again(kills=4, seconds=0.01)


@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_double_nothing(place):
    killed_again_and_again(kills=50, seconds=0.003)


def test_several_processes_share_the_work_and_inherit_it(place):
    """One of three is killed, one is stopped until the others are done."""
    with working() as one, working() as two, working() as three:
        time.sleep(0.1)
        one.kill()
        two.send_signal(signal.SIGSTOP)
        # The stopped one's shard is waited for, not taken: its process is there.
        ends = time.monotonic() + 30
        while len(Folder("out").done()) < LINES // worker.SHARD - 1:
            assert time.monotonic() < ends
            time.sleep(0.01)
        two.send_signal(signal.SIGCONT)
        assert two.wait(60) == 0 and three.wait(60) == 0
    check_all_is_there_once(kills=1)


def test_who_slept_for_longer_than_a_lease_adds_nothing(place, monkeypatch):
    """Its shard was made by another one meanwhile; what it made itself is dropped."""
    folder, source = Folder("out"), Source("lines.txt", None)
    monkeypatch.setattr("ptts_jax.bulk.claims._machine", lambda: None)
    write_shard = worker.Speaker.speak

    def slept(self, lines, keep, tell):
        monkeypatch.setattr(worker.Speaker, "speak", write_shard)
        done = write_shard(self, lines, keep, tell)
        monkeypatch.setattr("ptts_jax.bulk.claims.Claims._beat", lambda _: None)
        (folder.claims / "000000").unlink()  # a lease is over, and another one comes
        worker.run(source, folder, Path("other.log"), 0.0)
        return done

    monkeypatch.setattr(worker.Speaker, "speak", slept)
    assert worker.run(source, folder, Path("spoken.log"), 0.0) == LINES
    assert len(spoken()) == worker.SHARD
    assert [record["line"] for record in index(Path("out"))] == list(range(1, LINES + 1))
    assert not any((folder.path / ".unfinished").iterdir()) and not any(folder.claims.iterdir())


@pytest.mark.slow
def test_the_command_is_killed_and_goes_on(model, place, tmp_path):
    """As the user would do it, with a model."""
    write(tmp_path / "lines.jsonl", [{"text": f"This is line {n}."} for n in range(LINES)])
    command = [sys.executable, "-m", "ptts_jax.bulk", f"--model={model / 'model.yaml'}"]
    command += [f"--voice={model / 'a.safetensors'}", "--shard=10", "lines.jsonl", "out"]
    for shards in (1, 3):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            ends = time.monotonic() + 120
            while len(Folder("out").done()) < shards:
                assert time.monotonic() < ends and process.poll() is None
                time.sleep(0.01)
            process.kill()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        ends = time.monotonic() + 120
        while len(Folder("out").done()) < 4 and process.poll() is None:
            assert time.monotonic() < ends
            time.sleep(0.01)
        process.terminate()  # as Slurm and Kubernetes do
        err = process.communicate()[1]
        assert process.returncode in (0, 143)
        assert process.returncode == 0 or "the same command goes on" in err
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ids = [record["id"] for record in index(Path("out"))]
    assert len(ids) == len(set(ids)) == LINES
    checked = subprocess.run([*command, "--verify"], capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0 and checked.stderr.startswith(f"{LINES} lines, ")
    assert json.loads(Path("out/job.json").read_text())["lines"] == LINES
