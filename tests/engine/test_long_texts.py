"""Texts without end: they start at once, and the model does not run far ahead of its reader."""

import threading
import time

import pytest

from ptts_jax import text
from ptts_jax.engine import loops, scheduler
from ptts_jax.model import generate, side_by_side
from ptts_jax.model.caches.full import FullCache
from tests.support import tiny_files
from tests.support.facade import jobs_of

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """A list that gets the batch size of every frame that the language model makes."""
    made: list[int] = []
    first, several, beside = generate.first, generate.several, side_by_side.several

    def counted_first(*args):
        made.append(len(args[-1]))
        return first(*args)

    def counted(params, config, state, noise, count):
        made.extend(len(rows) for rows in noise[:count])
        return several(params, config, state, noise, count)

    def counted_beside(params, config, states, noise, count):
        made.extend(len(rows) for rows in noise[:count])
        return beside(params, config, states, noise, count)

    monkeypatch.setattr(generate, "first", counted_first)
    monkeypatch.setattr(generate, "several", counted)
    monkeypatch.setattr(side_by_side, "several", counted_beside)
    return made


TEXTS = {
    "sentences": "The quick brown fox jumps over the lazy dog. ",
    "words": "fox jumps over lazy ",
    "one word": "a",
    "points": "3.5",
    "emoji": "🙂",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_100_kb_of_text_starts_at_once(kind, tts, voices, steps, caplog):
    """And is cut into chunks that memory holds, also where it has no sentences nor words."""
    unit = TEXTS[kind]
    line = unit * (100_000 // len(unit.encode())) + " end"
    tts.generate("Hello.", voices[0])  # compiles what would let the model run ahead meanwhile
    steps.clear()
    stop = threading.Event()
    blocks = tts.stream(line, voices[0], seed=0, stop=stop)
    assert next(blocks).size == tts.config.mimi.frame_size
    stop.set()
    assert len(list(blocks)) <= 1
    assert len(steps) <= 1.5 * scheduler.AHEAD  # on a busy machine; the text has thousands
    jobs = jobs_of(tts, line)
    assert len(jobs) > 100 and max(len(j.tokens) for j in jobs) <= text.ENDLESS
    assert len(caplog.records) <= 2  # one warning at most for each time it was cut


def test_the_language_model_does_not_run_far_ahead(tts, voices, steps):
    blocks = tts.stream("Hello there. " * 2000, voices[0], seed=0)
    next(blocks)
    deadline = time.monotonic() + 60
    while len(steps) < scheduler.AHEAD and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)  # in which it would go on
    assert scheduler.AHEAD <= len(steps) <= 1.5 * scheduler.AHEAD
    taken = len(steps)
    for _ in range(20):
        next(blocks)
    while len(steps) == taken and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(steps) > taken  # whoever listens lets it go on
    blocks.close()


def test_memory_of_a_long_text_is_that_of_its_longest_chunk(tts):
    jobs = jobs_of(tts, "Hello there. " * 5000)
    voice = tts.voice(tiny_files.speech(1))
    assert loops.shape_for(tts.params, tts.config, FullCache, [voice], jobs).slots <= 512
