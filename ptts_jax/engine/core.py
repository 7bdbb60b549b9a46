"""Where speech is made: chunks of texts go in, streams of audio come out, many at a time.

Two threads: one drives the scheduler and the language model, one decodes, for whoever needs it
first. What a request sounds like depends on its chunks, never on the others. A text alone, a batch
and a server's requests all come through here.
"""

import atexit
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager

from ptts_jax.engine.caches import Caches
from ptts_jax.engine.checked import CheckedRows
from ptts_jax.engine.decoding import Decoding
from ptts_jax.engine.request import Job
from ptts_jax.engine.rows import Chunk, Rows
from ptts_jax.engine.scheduler import HUNGRY, SINGLES, Event, Full, Request, Scheduler
from ptts_jax.engine.speech import Speech, Utterance
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params

PILED = 24  # frames a row that wait to be decoded: then the model rests; the decoder has all cores
CLEARED = 16  # the same, with which it goes on: enough for the decoder to do meanwhile
HELD = 0.01  # seconds until the decoder looks again whether a block can be begun

_log = logging.getLogger(__name__)


class Closed(RuntimeError):
    """The engine takes no more requests."""


class Core(AbstractContextManager):
    """A model's rows, scheduler and two threads; `with` ends the threads.

    `weights` has a copy of the parameters for each device that computes. A row's cache has room for
    any of the jobs in `room`. Once `stop` is set, every request ends with what is decoded by then.
    """

    def __init__(
        self,
        weights: Sequence[Params],
        config: Config,
        caches: Caches,
        room: Sequence[Job],
        slots: int,
        most_waiting: float = math.inf,
        stop: threading.Event | None = None,
    ) -> None:
        self.rows = Rows(weights, config, caches, room)
        checked = CheckedRows(self.rows, config.mimi.frame_rate)
        self.scheduler = Scheduler(checked, slots, most_waiting)
        self._params = weights[0]
        self.config = config
        self._stop = stop or threading.Event()
        self._new: deque[Speech] = deque()
        self._gone: deque[Speech] = deque()
        self._active: dict[Request, Speech] = {}  # the step thread's
        self._decoding: list[Speech] = []  # the decoder thread's
        self._latents: deque[Speech] = deque()  # who has new ones, for the decoder thread
        self._work, self._decodable = threading.Event(), threading.Event()  # there may be some
        self._first = threading.Event()  # a first frame has been decoded
        self._door = threading.Lock()  # for who submits
        self._closing = self._finished = False
        self._resting = False  # since so much waits to be decoded
        self._threads = [
            threading.Thread(target=self._speak, name="ptts-lm", daemon=True),
            threading.Thread(target=self._decode, name="ptts-decoder", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        # The interpreter must not end while a thread computes, even if nobody closes this.
        atexit.register(self.close)

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, utterance: Utterance, live: bool = True, bounded: bool = True) -> Speech:
        """The audio of an utterance. Raises Full when too many requests wait.

        `live`: somebody listens while it is made; other work fills the gaps. `bounded`: the work
        rests while its reader is far behind.
        """
        how = utterance.follow.heads, utterance.trying
        chunks = [Chunk(job, part.voice, *how) for part in utterance.parts for job in part.jobs]
        checked = utterance.trying is not None
        request = Request(chunks, live=live, bounded=bounded, checked=checked)
        speech = Speech(self, request, utterance)
        if not chunks:
            for silence in (*speech.waves, None):
                speech.put(silence)
            return speech
        with self._door:
            if self._closing:
                raise Closed("the engine is closed")
            if self._finished:
                speech.put(None)
                return speech
            waiting = self.busy["waiting"]
            if waiting >= self.scheduler.most_waiting:
                raise Full(1 + waiting // self.scheduler.slots)
            request.arrived = time.monotonic()
            self._new.append(speech)
        self._work.set()
        return speech

    @property
    def busy(self) -> dict[str, int]:
        """How many requests speak and how many wait."""
        return {
            "open": len(self.scheduler.open),
            "waiting": len(self._new) + len(self.scheduler.waiting),
        }

    def close(self) -> None:
        """Ends every request and the threads. Twice does no harm, nor does it while the interpreter
        ends."""
        if not self._threads:
            return
        with self._door:
            self._closing = True
        self._work.set()
        self._decodable.set()
        while self._threads:
            self._threads.pop().join()
        atexit.unregister(self.close)

    def cancel(self, speech: Speech) -> None:
        """Ends the work for a speech; for the speech to call."""
        self._gone.append(speech)
        self._work.set()

    def decoding(self, request: Request) -> Decoding:
        """A decoder for a part of a request; for its speech to call."""
        return Decoding(self._params, self.config, SINGLES if request.live else 0)

    def ended(self) -> None:
        """The decoder lets go of a speech that is over; for the speech to call."""
        self._decodable.set()

    def taken(self, speech: Speech, frames: int) -> None:
        """The reader of a speech has so many frames; for the speech to call."""
        speech.request.taken = frames
        if speech.request.full_since is not None:  # its row rests; now there is room
            self._work.set()

    # The step thread.

    def _speak(self) -> None:
        idle = False
        while True:
            if idle:
                self._work.wait(1.0)  # at times it looks for listeners who have gone
            self._work.clear()
            self._take_in()
            while self._gone:
                speech = self._gone.popleft()
                self.scheduler.cancel(speech.request)
                self._active.pop(speech.request, None)
            if self._closing or self._stop.is_set():
                return self._finish()
            try:
                self._resting = self._behind()
                events = self.scheduler.round(time.monotonic(), self._resting)
            except Exception as error:  # the scheduler's own: nobody may wait for ever
                _log.exception("a round of work failed")
                events = self._end(error)
            for event in events or ():
                self._pass_on(event)
            idle = events is None

    def _behind(self) -> bool:
        """Whether the decoder has so much to do that more would only wait.

        The model is fastest with all rows side by side, the decoder with all cores: turn by turn
        both have what they need.
        """
        waiting = sum(speech.waiting for speech in list(self._decoding))
        return waiting >= (CLEARED if self._resting else PILED) * max(len(self.scheduler.open), 1)

    def _take_in(self) -> None:
        while self._new:
            speech = self._new.popleft()
            self._active[speech.request] = speech
            self.scheduler.submit(speech.request, speech.request.arrived)

    def _finish(self) -> None:
        """Nothing is made any more, whoever still submits."""
        with self._door:
            self._finished = True
            self._take_in()
        self._end(Closed("the engine was closed") if self._closing else None)

    def _end(self, error: Exception | None) -> None:
        """Everyone gets the error; None is the end."""
        for request, speech in self._active.items():
            self.scheduler.cancel(request)
            speech.put(error)
        self._active.clear()

    def _pass_on(self, event: Event) -> None:
        speech = self._active[event.request]
        if event.ended:
            del self._active[event.request]
        if event.error is not None:
            speech.put(event.error)
            return
        request, paces = event.request, speech.paces
        if event.chunk_ended:
            request.until = request.until and request.until + paces[request.begun - 1][1]
            request.frame_seconds = paces[min(request.begun, len(paces) - 1)][0]
        begins = request.made == len(event.frames) > 0
        self._first.clear()
        speech.latents.append((event.frames, event.chunk_ended, event.anew))
        self._latents.append(speech)
        self._decodable.set()
        if begins and event.request.live:
            self._first.wait(0.1)  # a step beside its decoding would slow both down

    # The decoder thread.

    def _decode(self) -> None:
        idle, held = False, False
        while True:
            if idle:
                self._decodable.wait(HELD if held else None)
            self._decodable.clear()
            if self._closing:
                return
            while self._latents:
                speech = self._latents.popleft()
                if speech not in self._decoding:
                    self._decoding.append(speech)
            # A block that can wait would keep those waiting who have just begun to listen.
            now = time.monotonic()
            until = now + HUNGRY if self.scheduler.hungry(now) else math.inf
            urgent = [speech for speech in self._decoding if _needed(speech) <= until]
            held = len(urgent) < len(self._decoding)
            idle = not any(self._decode_next(speech) for speech in sorted(urgent, key=_needed))

    def _decode_next(self, speech: Speech) -> bool:
        """Decodes what comes next of a request; whether there was anything to decode."""
        if speech.over:
            self._decoding.remove(speech)
            speech.drop()
            return True
        try:
            wave = next(speech.waves)
        except StopIteration:
            speech.put(None)
            return True
        except Exception as error:  # this request's alone
            speech.put(error)
            self.cancel(speech)
            return True
        if wave is None:
            return speech.ahead
        if speech.first_audio is None and speech.decoded:
            speech.first_audio = time.monotonic() - speech.request.arrived
            self._first.set()
        speech.put(wave)
        if self._resting:
            self._work.set()
        return True


def _needed(speech: Speech) -> float:
    """When the listener needs the next frame that is to be decoded."""
    request = speech.request
    if not request.live or request.until is None:
        return float("inf")
    return request.until - (request.made - speech.decoded) * request.frame_seconds
