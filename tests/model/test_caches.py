"""What every cache promises (caches/protocol.py), held against attention written out by hand."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import int8
from ptts_jax.model import caches, generate
from ptts_jax.model.caches import paged, ring
from ptts_jax.model.caches.protocol import Shape
from tests.support import tiny

LAYERS, HEADS, WIDTH, SLOTS = 2, 2, 16, 80
# How far the output may be from that of exact keys and values, which are of size 1.
ERROR = {"full": 1e-5, "ring": 1e-5, "paged": 1e-5, "bf16": 0.02, "int8": 0.03}
WINDOW = {"ring": ring.WINDOW}  # frames that a cache remembers; the others remember all
KINDS = list(caches.NAMES)


@pytest.fixture(params=["native", "xla"])
def way(request):
    """Both ways to compute; what was traced one way is forgotten."""
    int8.set_backend(request.param)
    step.clear_cache()
    yield request.param
    int8.set_backend("auto")
    step.clear_cache()


@dataclass
class Voice:
    k: tuple[np.ndarray, ...]
    v: tuple[np.ndarray, ...]


@jax.jit
def step(cache, q, k, v, positions):
    """One pass through all layers; q, k and v are [layer, B, T, H, D]."""
    cache, outs = cache.open(positions), []
    for layer in range(LAYERS):
        out, cache = cache.attend(layer, q[layer], k[layer], v[layer], positions)
        outs.append(out)
    return jnp.stack(outs), cache.close(positions)


class Speech:
    """The queries, keys and values of some rows, [layer, B, T, H, D], and their right outputs."""

    def __init__(self, length: int, rows: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        shape = (LAYERS, rows, length)
        self.q = rng.standard_normal((*shape, 2 * HEADS, WIDTH), np.float32)
        self.k, self.v = (rng.standard_normal((*shape, HEADS, WIDTH), np.float32) for _ in "kv")

    def row(self, at: int) -> "Speech":
        one = Speech(1, 1)
        one.q, one.k, one.v = (x[:, at : at + 1] for x in (self.q, self.k, self.v))
        return one

    def voice(self, row: int, length: int) -> Voice:
        part = lambda x: tuple(x[:, row, :length].swapaxes(1, 2))  # noqa: E731
        return Voice(part(self.k), part(self.v))

    def right(self, start: int, stop: int, pinned: int = 0, window: int = 10**6) -> np.ndarray:
        """What the queries at [start, stop) see, in numpy and double precision."""
        keys, query = np.arange(stop), np.arange(start, stop)[:, None]
        seen = (keys <= query) & ((query - keys < window) | (keys < pinned))
        k, v = (np.repeat(x[:, :, :stop], 2, axis=3).astype(float) for x in (self.k, self.v))
        logits = np.einsum("lbthd,lbshd->lbhts", self.q[:, :, start:stop], k) * WIDTH**-0.5
        weights = np.exp(np.where(seen, logits, -np.inf))
        weights /= weights.sum(-1, keepdims=True)
        return np.einsum("lbhts,lbshd->lbthd", weights, v)

    def give(self, cache, start: int, stop: int, padded: int = 0):
        """A pass over [start, stop), with padding behind it."""
        room = ((0, 0), (0, 0), (0, padded), (0, 0), (0, 0))
        parts = (
            np.pad(x[:, :, start:stop], room, constant_values=7) for x in (self.q, self.k, self.v)
        )
        positions = np.pad(np.arange(start, stop), (0, padded), constant_values=-1)
        rows = np.tile(positions.astype(np.int32), (self.q.shape[1], 1))
        out, cache = step(cache, *parts, rows)
        return np.asarray(out)[:, :, : stop - start], cache


def shape(rows: int = 1) -> Shape:
    return Shape(LAYERS, HEADS, WIDTH, rows, SLOTS)


def pinned(cache, length: int):
    return cache.pin(jnp.full(cache.positions.shape, length, jnp.int32))


def near(got: np.ndarray, want: np.ndarray, kind: str) -> None:
    np.testing.assert_allclose(got, want, atol=ERROR[kind], rtol=0)


def layout(cache) -> object:
    return jax.tree.map(lambda x: (x.shape, x.dtype), cache)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [(40,), (16, 24), (20, *[1] * 20), (7, 3, 1, 1, 28)])
def test_blocks_do_not_matter_and_nothing_changes_its_shape(way, kind, blocks):
    speech, cache = Speech(40, 2), caches.NAMES[kind].init(shape(2))
    before, outs, at = layout(cache), [], 0
    for size in blocks:
        out, cache = speech.give(pinned(cache, at + size), at, at + size, padded=5)
        at += size
        outs.append(out)
        assert layout(cache) == before and cache.positions.tolist() == [at, at]
    near(np.concatenate(outs, axis=2), speech.right(0, 40), kind)
    assert cache.slots >= 40


@pytest.mark.parametrize("kind", KINDS)
def test_a_voice_is_as_if_it_had_been_read(way, kind):
    speech = Speech(30, 2)
    lengths = 20, 11
    voices = [speech.voice(row, length) for row, length in enumerate(lengths)]
    before = [x.copy() for x in voices[0].k]
    cache = caches.NAMES[kind].from_voices(shape(2), voices)
    assert cache.positions.tolist() == list(lengths)
    assert layout(cache) == layout(caches.NAMES[kind].init(cache_shape(cache, 2)))
    for row, length in enumerate(lengths):
        one, cache_of_one = speech.row(row), cache.row(jnp.int32(row))
        out, _ = one.give(cache_of_one, length, length + 9)
        near(out, one.right(length, length + 9), kind)
    np.testing.assert_array_equal(before, voices[0].k)


def cache_shape(cache, rows: int) -> Shape:
    return Shape(LAYERS, HEADS, WIDTH, rows, cache.slots)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_and_go_at_any_time_and_nobody_else_notices(way, kind):
    """Each row is what it is alone, bit for bit where the kernels are native."""
    speech, rows, same = Speech(40, 4), 3, np.testing.assert_array_equal
    if way == "xla":
        same = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6)  # noqa: E731
    started = {0: 0, 1: 4, 2: 9, 3: 15}  # the step at which each row joins
    places = {0: 0, 1: 2, 2: 1, 3: 0}  # row 3 takes the place that row 0 has left
    alone = {}
    for row in started:
        one = speech.row(row)
        _, cache = one.give(
            pinned(caches.NAMES[kind].init(shape()), 12 + row), 0, 12 + row, padded=3
        )
        alone[row] = [(None, cache)]
        for at in range(12 + row, 30):
            out, cache = one.give(cache, at, at + 1)
            alone[row].append((out, cache))
    insert = jax.jit(lambda cache, row, slot: cache.insert(row, slot))
    rewind = jax.jit(lambda cache, to: cache.rewind(to))
    together = caches.NAMES[kind].init(shape(rows))
    before, at = layout(together), dict.fromkeys(started, 0)
    speaking: dict[int, int] = {}  # place -> row
    for turn in range(22):
        if turn == 13:  # row 0 leaves
            del speaking[0]
            together = rewind(together, jnp.where(jnp.arange(rows) == 0, 0, together.positions))
            assert int(together.positions[0]) == 0
        for row, when in started.items():
            if when == turn:
                together = insert(together, alone[row][0][1], jnp.int32(places[row]))
                speaking[places[row]] = row
        inputs = [np.zeros((LAYERS, rows, 1, n, WIDTH), np.float32) for n in (4, 2, 2)]
        positions = np.full((rows, 1), -1, np.int32)
        for place, row in speaking.items():
            positions[place] = 12 + row + at[row]
            for whole, part in zip(inputs, (speech.q, speech.k, speech.v), strict=True):
                whole[:, place] = part[:, row, positions[place]]
        out, together = step(together, *inputs, positions)
        assert layout(together) == before and np.isfinite(out).all()
        for place, row in list(speaking.items()):
            at[row] += 1
            same(np.asarray(out)[:, place], alone[row][at[row]][0][:, 0])
            assert int(together.positions[place]) == 12 + row + at[row]
            if at[row] == len(alone[row]) - 1:
                del speaking[place]
    assert min(at.values()) >= 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_taken_out_goes_on_later(kind):
    speech, cache = Speech(30, 3), caches.NAMES[kind].init(shape(3))
    _, cache = speech.give(pinned(cache, 10), 0, 20)
    row = jax.jit(lambda cache, slot: cache.row(slot))(cache, jnp.int32(1))
    assert layout(row) == layout(caches.NAMES[kind].init(shape()))
    want, _ = speech.give(cache, 20, 21)
    out, row = speech.row(1).give(row, 20, 21)
    np.testing.assert_allclose(out[:, 0], want[:, 1], atol=1e-6)
    back = caches.NAMES[kind].init(shape(3)).insert(row, jnp.int32(2))
    assert back.positions.tolist() == [0, 0, 21]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rewound_cache_has_forgotten(kind):
    speech, other = Speech(40, 2), Speech(40, 2, seed=1)
    _, fresh = speech.give(pinned(caches.NAMES[kind].init(shape(2)), 15), 0, 15)
    _, used = other.give(fresh, 15, 40)
    again = used.rewind(jnp.int32(15))
    assert again.positions.tolist() == [15, 15] and layout(again) == layout(fresh)
    assert used.rewind(jnp.int32(99)).positions.tolist() == [40, 40]
    out, again = speech.give(again, 15, 30, padded=4)
    near(out, speech.right(15, 30), kind)
    want, _ = speech.give(fresh, 15, 30, padded=4)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("size", [1, 7])
def test_a_ring_keeps_what_is_pinned_and_a_window_of_the_rest(way, size):
    speech = Speech(200, 2)
    cache = ring.RingCache.init(Shape(LAYERS, HEADS, WIDTH, 2, 48), window=20)
    _, cache = speech.give(pinned(cache, 15), 0, 15, padded=9)
    for at in range(15, 190, size):
        out, cache = speech.give(cache, at, at + size)
        near(out, speech.right(at, at + size, 15, 20), "ring")
    assert cache.slots == 48


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", ["step", "scan_steps", "several", "prefill_text", "insert"])
def test_no_cache_is_copied_and_the_call_is_there(way, kind, function):
    config, params = tiny.RICH, tiny.params(tiny.RICH)
    t, batch = config.flow_lm.transformer, 3

    def state(rows: int) -> generate.GenState:
        cache = caches.NAMES[kind].init(Shape(t.num_layers, t.kv_heads, t.head_dim, rows, 300))
        zero = np.zeros(rows, np.int32)
        return generate.begin(params, config, 1, cache, zero, zero, np.zeros(rows, np.float32))

    frame = (batch, config.mimi.latent_dim)
    inputs = {
        "step": (np.zeros(frame, np.float32),),
        "scan_steps": (np.zeros((4, *frame), np.float32),),
        "several": (np.zeros((4, *frame), np.float32), np.int32(2)),
        "prefill_text": (np.zeros((batch, 16), np.int32), np.ones(batch, np.int32)),
    }
    running, call = state(batch), getattr(generate, function)
    call.clear_cache()  # what was traced keeps the way it was traced with
    if function == "insert":
        lowered = call.lower(running, state(1), np.int32(1))
    else:
        lowered = call.lower(params, config, running, *inputs[function])
    text = lowered.compile().as_text()
    call.clear_cache()
    names = {"float32": "f32", "bfloat16": "bf16", "int8": "s8"}
    large = [x for x in jax.tree.leaves(running.cache) if x.size >= batch * t.kv_heads * 300]
    assert large
    for x in large:
        buffer = rf"{names[x.dtype.name]}\[{','.join(map(str, x.shape))}\]"
        assert re.search(buffer, text)
        copies = re.findall(rf"{buffer}\S* copy\(", text)
        if (kind, way) != ("bf16", "xla"):  # XLA:CPU widens and narrows bfloat16 at every step
            assert not copies
    natively = way == "native" and kind in ("full", "bf16", "ring") and function != "insert"
    assert ("int8_attend" in text) == natively


def test_a_voice_that_rows_share_is_there_once():
    """And is no longer shared where a row writes over it, or when its rows have gone."""
    speech = Speech(90, 1)
    voice, block = speech.voice(0, 70), paged.BLOCK
    cache = paged.PagedCache.init(Shape(LAYERS, HEADS, WIDTH, 3, 4 * block, shared=64))
    assert len(cache.users) == 3 * 4 - 2 * 2  # two blocks less for two of the rows
    for row in range(3):
        one = paged.PagedCache.from_voices(Shape(LAYERS, HEADS, WIDTH, 1, 4 * block), [voice])
        cache = cache.insert(one, jnp.int32(row))
    assert sorted(cache.users.tolist()) == [0] * 3 + [1] * 3 + [3] * 2
    for row, back in ((1, 40), (2, 0)):
        cache = cache.rewind(jnp.where(jnp.arange(3) == row, back, cache.positions))
    assert sorted(cache.users.tolist()) == [0] * 4 + [1] * 3 + [2]
    other = Speech(90, 1, seed=1)
    _, changed = other.give(cache.row(jnp.int32(1)), 40, 45)
    cache = cache.insert(changed, jnp.int32(1))
    out, _ = speech.give(cache.row(jnp.int32(0)), 70, 80)
    near(out, speech.right(70, 80), "paged")


def test_a_cache_is_found_by_name_or_by_module():
    assert caches.find("ring") is ring.RingCache
    assert caches.find("ptts_jax.model.caches.ring:RingCache") is ring.RingCache
    assert caches.find(ring.RingCache) is ring.RingCache
    for wrong, message in (
        ("rings", "cache 'rings': unknown; give full, "),
        ("no.such.module:Class", "give module:Class"),
        ("ptts_jax.model.caches:Nothing", "give module:Class"),
        ("json:JSONDecoder", "has no init, from_voices, slots_for"),
        (7, "cache 7 has no init"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            caches.find(wrong)
