"""Claims: one owner at a time, and those of the dead are taken over, whatever clocks say."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from ptts_jax.bulk import claims
from ptts_jax.bulk.claims import Claims
from tests.support.threads import at_once


class Stopwatch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def elsewhere(monkeypatch):
    """The claims of each are as those of another machine: nobody can look for its process."""
    monkeypatch.setattr(claims, "_machine", lambda: None)


def silent(folder, clock=time.monotonic, lease=60.0) -> Claims:
    """Somebody whose heart does not beat in this test."""
    folder.mkdir(exist_ok=True)
    return Claims(folder, lease, clock)


def won(everybody: list[Claims], count: int) -> list[int]:
    """The shards that somebody got, where all try for all of them at once."""
    found: list[int] = []
    barrier = threading.Barrier(len(everybody))

    def race(who: int) -> None:
        barrier.wait()
        found.extend(number for number in range(count) if everybody[who].take(number))

    at_once(race, len(everybody))
    return found


def test_one_of_many_takes_a_shard(tmp_path):
    everybody = [silent(tmp_path / "claims") for _ in range(8)]
    assert sorted(won(everybody, 50)) == list(range(50))


def test_what_was_let_go_can_be_taken(tmp_path):
    one, two = silent(tmp_path), silent(tmp_path)
    assert one.take(3) and not two.take(3)
    two.release(3)  # not its own
    assert not two.take(3)
    one.release(3)
    assert two.take(3) and not one.take(3)


@pytest.mark.parametrize("skew", [-1e6, 0.0, 1e6], ids=["behind", "right", "ahead"])
def test_a_silent_owner_loses_its_shard_after_a_lease(tmp_path, elsewhere, skew):
    """Its clock, which has written the file's time, does not matter."""
    clock = Stopwatch()
    dead, alive = silent(tmp_path), silent(tmp_path, clock)
    assert dead.take(0)
    os.utime(tmp_path / "000000", (time.time() + skew,) * 2)
    for clock.now in (1000.0, 1030.0, 1059.0):
        assert not alive.take(0)
    clock.now = 1061.0
    assert alive.take(0)
    assert json.loads((tmp_path / "000000").read_text()) == json.loads(alive._owner)


def test_an_owner_that_gives_a_sign_of_life_keeps_its_shard(tmp_path, elsewhere):
    clock = Stopwatch()
    owner, other = silent(tmp_path), silent(tmp_path, clock)
    assert owner.take(0)
    for beat in range(20):
        clock.now += 50
        os.utime(tmp_path / "000000", (beat, beat))  # its clock stands in 1970
        assert not other.take(0)


def test_hearts_beat(tmp_path, elsewhere):
    with Claims(tmp_path, 0.2) as owner:
        assert owner.take(0)
        before = (tmp_path / "000000").stat().st_mtime_ns
        ends = time.monotonic() + 10
        while (tmp_path / "000000").stat().st_mtime_ns == before:
            assert time.monotonic() < ends
            time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_of_several_who_see_a_dead_owner_one_takes_over(tmp_path, elsewhere):
    clock = Stopwatch()
    dead = silent(tmp_path)
    heirs = [silent(tmp_path, clock) for _ in range(8)]
    for number in range(20):
        assert dead.take(number)
        assert not any(heir.take(number) for heir in heirs)
    clock.now = 61.0
    taken = won(heirs, 20)
    assert set(taken) == set(range(20))
    assert len(taken) <= 22, "a claim that is taken from a new owner is rare, and harmless"


def test_a_new_owner_is_not_buried_for_the_old_one(tmp_path, elsewhere):
    clock = Stopwatch()
    dead, heir, late = silent(tmp_path), silent(tmp_path, clock), silent(tmp_path, clock)
    assert dead.take(0) and not heir.take(0) and not late.take(0)
    old = late._state(tmp_path / "000000")
    clock.now = 61.0
    assert heir.take(0)
    assert not late._bury(0, old)  # it looked before the other took it
    assert (tmp_path / "000000").read_text() == heir._owner
    assert [path.name for path in tmp_path.iterdir()] == ["000000"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_process_of_this_machine_loses_its_shards_at_once(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from ptts_jax.bulk.claims import Claims\n"
        "print(Claims(Path(sys.argv[1]), 60.0).take(0), flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "True\n"
        heir = silent(tmp_path)
        assert not heir.take(0)
        owner.kill()
        owner.wait()
        assert heir.take(0)


def test_a_claim_that_was_cut_off_is_of_somebody(tmp_path):
    clock = Stopwatch()
    (tmp_path / "000000").touch()  # killed before it could say who it is
    heir = silent(tmp_path, clock)
    assert not heir.take(0)
    clock.now = 61.0
    assert heir.take(0)
