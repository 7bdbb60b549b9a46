"""Who speaks next: many requests share one model, a few frames at a time.

`Scheduler.round(now)` is one round of work: at most one block of text is read, then one step is
made for the rows that need it most. There is no thread and no clock in here; whoever drives it
(a thread, a test) brings the time. What computes is behind `Model`.

A row owns its cache, so joining, leaving and resting cost nothing: a round names the rows of its
step. A listener hears a frame every 80 ms from the first one on. A row's lead is the time until its
listener has heard all there is; the smallest lead goes first.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

HUNGRY = 0.4  # seconds of lead below which a listener may soon hear a gap
FAR = 4.0  # seconds of lead with which a row rests while another one is hungry
SOON = 0.15  # seconds of lead that a round may use up: then no text is read, and few rows go along
NEAR = 1.0  # seconds of lead with which a row rests in such a round
LATER = 0.3  # seconds that a newcomer may wait for such rounds
SINGLES = 8  # first frames of a request that are made one by one, since somebody waits for them
SEVERAL = 4  # frames per step later, since a step costs time of its own
TOGETHER = 8  # frames per step of all its rows: a newcomer waits until it ends
CROWDED = 16  # the same where more than half of the slots are taken and nobody is hungry
AHEAD = 375  # frames (30 s) that may wait for their listener; then the row rests
PATIENCE = 60.0  # seconds for which a listener may read nothing of a full queue


class Made(NamedTuple):
    """What a model made of one row."""

    frames: Sequence[Any]
    last: bool  # the chunk of text has been spoken
    anew: bool = False  # these frames begin the chunk again: forget those before


class Model(Protocol):
    """What computes. A chunk is a text with its voice and options, a row its state."""

    def open(self, chunk: Any) -> Any:
        """A row for a chunk; nothing is computed yet."""

    def read(self, row: Any) -> Made | None:
        """Reads one block of the row's text; the first frame, once all of it is read."""

    def step(self, rows: Sequence[Any], count: int) -> Sequence[Made | Exception]:
        """Up to `count` more frames of each row. What it raises fails all of them."""

    def close(self, row: Any) -> None:
        """The row is not needed any more."""


class Full(Exception):
    """No more requests can wait; one may be sent again after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many requests are waiting; try again in {seconds} s")
        self.seconds = seconds


class ListenerLost(Exception):
    """Nobody took the audio for a long time."""


@dataclass(eq=False)
class Request:
    """One text to speak, in chunks. Without a listener (`live` is False) it fills the gaps."""

    chunks: Sequence[Any]
    frame_seconds: float = 0.08
    live: bool = True
    bounded: bool = True  # only so much may wait for its reader
    checked: bool = False  # nobody hears a chunk before it is whole, since it may begin again
    # What follows belongs to the scheduler.
    arrived: float = 0.0
    opened: float | None = None  # when it got its first row
    begun: int = 0  # chunks that were opened
    row: Any = None  # of the current chunk; None between chunks
    reading: bool = True  # the current chunk's text is not read yet
    made: int = 0  # frames made
    unsure: int = 0  # frames of a chunk that may begin again
    taken: int = 0  # frames that the listener took
    until: float | None = None  # when the listener has heard all there is; None before the first
    gaps: int = 0  # times that the listener waited
    turn: int = 0  # the round of its last work
    full_since: float | None = None

    def lead(self, now: float) -> float:
        """Seconds until the listener has nothing to hear; below 0 while it waits for a beginning.

        What lies unread is a lower bound: a player that pauses is in no need.
        """
        if not self.live:
            return math.inf
        if self.until is None:
            lead = self.arrived - now
        else:
            lead = max(self.until - now, (self.made - self.taken) * self.frame_seconds)
        # A chunk that is checked is waited for anyway: that keeps nobody else from beginning.
        return max(lead, HUNGRY) if self.checked else lead

    def hear(self, count: int, now: float) -> None:
        """So many frames more were made."""
        if count == 0:
            return
        if self.until is None or self.until < now:
            self.gaps += self.until is not None
            self.until = now
        self.until += count * self.frame_seconds
        self.made += count


class Event(NamedTuple):
    """What a round did for one request."""

    request: Request
    frames: Sequence[Any] = ()
    chunk_ended: bool = False  # these frames are the last of their chunk
    anew: bool = False  # these frames begin the chunk again
    ended: bool = False  # nothing more will come
    error: Exception | None = None


@dataclass
class Scheduler:
    """Shares a model between requests. Not safe between threads: one thread drives it."""

    model: Model
    slots: int = 8  # rows of a step at most
    most_waiting: float = 64
    waiting: list[Request] = field(default_factory=list)  # no row yet
    open: list[Request] = field(default_factory=list)
    rounds: int = 0

    @property
    def most_open(self) -> int:
        """Requests with a row at a time: some rest while others are stepped."""
        return 2 * self.slots

    def submit(self, request: Request, now: float) -> None:
        """Takes a request in, or raises Full."""
        if len(self.waiting) >= self.most_waiting:
            raise Full(math.ceil(len(self.waiting) / self.slots))
        request.arrived = now
        self.waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Ends a request at once; one that has ended already stays as it is."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.open:
            self._leave(request)

    def hungry(self, now: float) -> bool:
        """Whether a listener may soon hear a gap, or has not heard anything yet."""
        return any(r.lead(now) < HUNGRY for r in list(self.open))

    def round(self, now: float, behind: bool = False) -> list[Event] | None:
        """One round of work; None when nothing can be done before something new happens.

        `behind`: what was made waits to be decoded. Then all that computes is for that, unless a
        listener is hungry.
        """
        self.rounds += 1
        events = list(self._lost(now))
        self._admit(now)
        readers = [r for r in self.open if r.reading and not _full(r)]
        speakers = [r for r in self.open if not r.reading and not _full(r)]
        hungry = any(r.lead(now) < HUNGRY for r in readers + speakers)
        if behind and not hungry:
            return events or None
        if hasty := any(r.lead(now) < SOON for r in speakers):
            # Who has just begun to listen hears the next frames in time.
            readers = [r for r in readers if r.lead(now) < (SOON if r.made else -LATER)]
        rests = math.inf
        if hungry:
            rests = NEAR if hasty else FAR

        def chosen(requests: list[Request], count: int) -> list[Request]:
            if rests < math.inf:
                requests = [r for r in requests if r.lead(now) < rests]
            # Whoever is far ahead, or has no listener, takes turns.
            return sorted(requests, key=lambda r: (min(r.lead(now), FAR), r.turn))[:count]

        reader, rows = chosen(readers, 1), chosen(speakers, self.slots)
        rows = rows[: _width(len(rows))]
        for request in reader:
            events += self._read(request, now)
        if rows:
            events += self._step(rows, now)
        return events if reader or rows or events else None

    def _admit(self, now: float) -> None:
        """Requests from the waiting list, listeners first; the others leave them half the rows."""
        while self.waiting and len(self.open) < self.most_open:
            unheard = sum(not r.live for r in self.open)
            able = self.waiting[:1] if unheard < self.slots else []
            able = [r for r in self.waiting if r.live][:1] or able
            if not able:
                return
            [request] = able
            self.waiting.remove(request)
            self.open.append(request)
            request.opened = now

    def _lost(self, now: float) -> Iterator[Event]:
        """Ends the requests whose listener takes nothing any more."""
        for request in list(self.open):
            if not _full(request):
                request.full_since = None
            elif request.full_since is None:
                request.full_since = now
            elif now - request.full_since > PATIENCE:
                self._leave(request)
                words = f"nobody took the audio for {PATIENCE:.0f} s"
                yield Event(request, ended=True, error=ListenerLost(words))

    def _read(self, request: Request, now: float) -> list[Event]:
        request.turn = self.rounds
        try:
            if request.row is None:
                request.row = self.model.open(request.chunks[request.begun])
                request.begun += 1
            made = self.model.read(request.row)
        except Exception as error:  # of whatever kind: it is this request's alone
            made = error
        if made is None:
            return []
        request.reading = False
        return [self._made(request, made, now)]

    def _step(self, requests: list[Request], now: float) -> list[Event]:
        count = SEVERAL
        if any(r.live for r in self.open):
            crowded = 2 * len(self.open) > self.slots and not self.hungry(now)
            together = CROWDED if crowded else TOGETHER
            count = max(1, min(SEVERAL, together // len(requests)))
        if any(r.live and r.made < SINGLES and not r.checked for r in requests):
            count = 1
        try:
            made = self.model.step([r.row for r in requests], count)
        except Exception as error:
            made = [error] * len(requests)
        for request in requests:
            request.turn = self.rounds
        return [self._made(r, m, now) for r, m in zip(requests, made, strict=True)]

    def _made(self, request: Request, made: Made | Exception, now: float) -> Event:
        if isinstance(made, Exception):
            self._leave(request)
            return Event(request, ended=True, error=made)
        heard = len(made.frames)
        if request.checked:
            so_far = heard + (0 if made.anew else request.unsure)
            heard, request.unsure = (so_far, 0) if made.last else (0, so_far)
        request.hear(heard, now)
        if not made.last:
            return Event(request, made.frames, anew=made.anew)
        ended = request.begun == len(request.chunks)
        if ended:
            self._leave(request)
        else:
            self._close(request)
            request.reading = True
        return Event(request, made.frames, chunk_ended=True, anew=made.anew, ended=ended)

    def _leave(self, request: Request) -> None:
        self.open.remove(request)
        self._close(request)

    def _close(self, request: Request) -> None:
        if request.row is not None:
            self.model.close(request.row)
            request.row = None


def _width(count: int) -> int:
    """The largest of 1, 2, 4, 8, ... up to a count: each is a compilation. The others go next."""
    return 1 << (count.bit_length() - 1) if count else 0


def _full(request: Request) -> bool:
    return request.bounded and request.made - request.taken >= AHEAD
