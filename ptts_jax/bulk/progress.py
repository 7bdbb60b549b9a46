"""How far the work is, on standard error."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from ptts_jax.messages import on_terminal, say

OFTEN, RARELY = 0.5, 30.0  # seconds between two lines on a terminal, and elsewhere


def span(seconds: float) -> str:
    """Seconds as somebody would say them."""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return (
                f"{seconds / size:.1f} {name}"
                if seconds < 10 * size
                else (f"{seconds / size:.0f} {name}")
            )
    return f"{seconds:.0f} s"


class Progress(AbstractContextManager):
    """Counts what is done by all processes and what is spoken by this one."""

    def __init__(
        self,
        total: int | None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        what: str = "lines",
    ) -> None:
        self.total = total  # lines; None where they cannot be counted before
        self.spoken = 0.0  # seconds of audio, by this process
        self.lines = 0  # by this process
        self.failed = 0
        self._elsewhere = 0  # lines that were done before, or by others
        self._at_start: int | None = None
        self._what = what
        self._quiet = quiet
        self._clock = clock
        self._start = clock()
        self._shown = self._start

    def others(self, lines: int) -> None:
        """So many lines are done that this process did not speak."""
        self._elsewhere = lines
        if self._at_start is None:
            self._at_start = lines
        self.show()

    def add(self, seconds: float, failed: bool) -> None:
        """A line more is spoken, or has failed."""
        self.more(1, failed, seconds)

    def more(self, lines: int, failed: int, seconds: float) -> None:
        """So many lines more, in one go."""
        self.lines += lines
        self.failed += failed
        self.spoken += seconds
        self.show()

    @property
    def before(self) -> int:
        """Of what is done, what this process did not speak."""
        return self._elsewhere

    def counted(self, lines: int) -> None:
        """So many lines were read, and none spoken."""
        self.lines = lines
        self.show()

    def show(self, now: bool = False) -> None:
        """A line, if one is due."""
        live, time = on_terminal(), self._clock()
        if self._quiet or not (now or time - self._shown > (OFTEN if live else RARELY)):
            return
        self._shown = time
        say(f"\r\033[K{self}" if live else str(self), end="" if live else "\n")

    def end(self) -> None:
        """Nothing more comes."""
        if on_terminal() and not self._quiet:
            say("\r\033[K", end="")

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        """Nothing more comes. An interrupt says how far the work is."""
        self.end()
        if isinstance(error, KeyboardInterrupt):
            error.args = (f"after {self.lines:,} {self._what}; the same command goes on",)

    @property
    def seconds(self) -> float:
        return max(self._clock() - self._start, 1e-9)

    def __str__(self) -> str:
        done = self._elsewhere + self.lines
        of = f" of {self.total:,}" if self.total is not None else ""
        parts = [f"{done:,}{of} {self._what}"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.spoken:
            rate = self.spoken / self.seconds
            parts.append(f"{span(self.spoken)} of audio at {rate:.1f}x real time")
        new = done - (self._at_start or 0)
        if self.total is not None and new and done < self.total:
            parts.append(f"{span((self.total - done) * self.seconds / new)} left")
        return ", ".join(parts)
