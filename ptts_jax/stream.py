"""Speech as it is made: the language model in a thread of its own, the decoder with the listener.

Knows queues, threads and when to decode how much; the work itself is in drivers.
"""

import atexit
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ptts_jax import drivers
from ptts_jax.config import Config
from ptts_jax.drivers import Job, Sampling
from ptts_jax.voices import Voice, WarmCaches

Params = dict[str, Any]

# Each frame at once until there is a lead, then blocks. Two sizes, since each is a compilation, and
# a lead of one block, so that speech that is made only just as fast as it plays has no gaps.
AHEAD = 375  # frames (30 s) that the language model may be ahead of whoever listens


def stream(
    params: Params,
    config: Config,
    voice: Voice,
    jobs: Sequence[Job],
    sampling: Sampling,
    stop: threading.Event,
    warm: WarmCaches | None = None,
) -> Iterator[np.ndarray]:
    """Waveform blocks of all jobs in turn; ends at once when closed or when `stop` is set."""
    done = threading.Event()  # the listener has gone
    heard = threading.Event()  # the first frame is on its way to the listener
    out: queue.Queue = queue.Queue()
    room = threading.Semaphore(AHEAD)

    def work() -> None:
        try:
            halted = _Either(stop, done)
            for item in drivers.latents(params, config, voice, jobs, sampling, halted, warm):
                out.put(item)
                while drivers.SINGLES and not heard.wait(0.1) and not halted.is_set():
                    pass  # a second step beside the first decoding would slow both down
                while not room.acquire(timeout=0.1) and not halted.is_set():
                    pass
            out.put(None)
        except BaseException as error:  # handed to the listener, who raises it
            out.put(error)

    worker = threading.Thread(target=work, name="ptts-lm", daemon=True)

    def end() -> None:
        done.set()
        room.release()
        if worker.is_alive():
            worker.join()

    worker.start()
    # The interpreter must not go while the thread computes, and goes before a forgotten generator.
    forget = atexit.unregister
    atexit.register(end)
    try:
        yield from _decoded(params, config, out, room, stop, heard)
    finally:
        end()
        forget(end)


class _Either:
    """Set when any of the events is."""

    def __init__(self, *events: threading.Event) -> None:
        self._events = events

    def is_set(self) -> bool:
        return any(e.is_set() for e in self._events)


def _decoded(
    params: Params,
    config: Config,
    items: queue.Queue,
    room: threading.Semaphore,
    stop: threading.Event,
    heard: threading.Event,
) -> Iterator[np.ndarray]:
    decoder, current, spoken = None, 0, 0
    ready: list[np.ndarray] = []
    while not stop.is_set():
        item = items.get()
        room.release()
        if isinstance(item, BaseException):
            raise item
        turn = item is None or item[0] != current  # the job's last frame has come
        if not turn:
            ready.append(item[1])
        if turn or spoken < drivers.SINGLES or len(ready) == drivers.BLOCK:
            for block, count in _blocks(ready, single=spoken < drivers.SINGLES):
                decoder, wave = drivers.decode_block(params, config, decoder, block)
                heard.set()
                yield wave[0, : count * config.mimi.frame_size]
            spoken += len(ready)
            ready = []
        if item is None:
            return
        if turn:
            decoder, current, ready = None, item[0], [item[1]]


def _blocks(ready: list[np.ndarray], single: bool) -> Iterator[tuple[np.ndarray, int]]:
    """Latents [1, T, D] and how many of the T are meant; what pads a last block is not heard."""
    if single or len(ready) < drivers.BLOCK // 2:
        for latent in ready:
            yield latent[None, None], 1
    else:
        block = np.zeros((1, drivers.BLOCK, ready[0].size), np.float32)
        block[0, : len(ready)] = ready
        yield block, len(ready)
