"""What a process does beside others that work in the same folder."""

from pathlib import Path

import pytest

from ptts_jax.bulk import work
from ptts_jax.bulk.claims import Claims
from ptts_jax.bulk.job import Folder
from ptts_jax.bulk.lines import Settings
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.reading import Source
from ptts_jax.bulk.work import Work
from tests.bulk import worker

LONG = 1000.0  # seconds that a shard takes


class Clock:
    """Stands where the module `time` stands: who sleeps is noted, and does not wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.rested()

    def rested(self) -> None:
        """What happens meanwhile."""


@pytest.fixture
def clock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "time", clock := Clock())
    return clock


class Speaker(worker.Speaker):
    """Takes long."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(Path("spoken.log"), 0.0)
        self._clock = clock

    def speak(self, lines, keep, tell):
        self._clock.now += LONG
        return super().speak(lines, keep, tell)


def test_who_waits_for_others_does_not_wait_as_long_as_it_has_worked(clock, monkeypatch):
    Path("lines.txt").write_text("".join(f"Line {n}.\n" for n in range(1, 21)))
    folder, job = Folder("out"), {"shard": worker.SHARD, "format": "tar", "lines": None}
    folder.begin(job)
    with Claims(folder.claims, 60.0) as other, Claims(folder.claims, 60.0) as own:
        assert other.take(1)
        monkeypatch.setattr(clock, "rested", lambda: other.release(1))
        source, progress = Source("lines.txt", None), Progress(None, quiet=True)
        done = Work(source, folder, job, Settings(), Speaker(clock), own, progress).run()
    assert done == 20 and folder.done() == {0, 1, 2, 3}
    assert clock.slept == [work.WAITS]
