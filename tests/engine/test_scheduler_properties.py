"""The scheduler, whatever comes in whatever order: on the same model and clock as in
test_scheduler.py."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from ptts_jax.engine import scheduler
from ptts_jax.engine.scheduler import Full, ListenerLost, Request
from tests.support.scheduling import Run, chunk, frames

CHUNKS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 3), st.sampled_from([-1, -1, -1, 0, 5, 30])),
    min_size=1,
    max_size=3,
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), CHUNKS, st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("read"), st.integers(0, 30), st.integers(1, 500)),
        st.tuples(st.just("wait"), st.floats(0, 100)),
        st.tuples(st.just("work"), st.integers(1, 20)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, slots=st.integers(1, 4))
def test_whatever_happens_everyone_gets_exactly_their_own_frames(actions, slots):
    run = Run(slots=slots, most_waiting=4)
    expected: dict[Request, list] = {}
    cancelled: set[Request] = set()
    for action, *values in actions:
        requests = list(run.heard)
        if action == "submit":
            parts, live = values
            name = f"r{len(requests)}"
            chunks = [
                chunk(f"{name}.{i}", n, blocks=blocks, fails_at=at)
                for i, (n, blocks, at) in enumerate(parts)
            ]
            try:
                request = run.submit(*chunks, live=live)
            except Full:
                assert len(run.scheduler.waiting) == 4
                continue
            expected[request] = []
            for c in chunks:
                spoken = c["length"] if c["fails_at"] < 0 else min(c["fails_at"], c["length"])
                expected[request] += frames(c["name"], spoken)
                if 0 <= c["fails_at"] < c["length"]:
                    break
        elif action == "cancel" and requests:
            request = requests[values[0] % len(requests)]
            run.scheduler.cancel(request)
            cancelled.add(request)
        elif action == "read" and requests:
            request = requests[values[0] % len(requests)]
            request.taken = min(request.made, request.taken + values[1])
        elif action == "wait":
            run.now += values[0]
        else:
            for _ in range(values[0] if action == "work" else 0):
                run.round(reads=False)
        assert len(run.model.open_rows) <= run.scheduler.most_open
        for _, names in (entry for entry in run.model.log if entry[0] == "step"):
            assert len(names) <= slots
    for request in run.heard:
        request.taken = request.made
    run.to_the_end()
    assert run.model.open_rows == [] and run.scheduler.open == [] and run.scheduler.waiting == []
    for request, whole in expected.items():
        heard, end = run.heard[request], run.ends[request]
        if request in cancelled or any(isinstance(e, ListenerLost) for e in end):
            assert heard == whole[: len(heard)]
        elif end == [None]:
            assert heard == whole
        else:  # several frames of a failing step are lost with it
            assert isinstance(end[0], ArithmeticError)
            assert heard == whole[: len(heard)] and len(whole) - len(heard) < scheduler.SEVERAL


@settings(max_examples=30, deadline=None)
@given(
    starts=st.lists(st.floats(0, 3), min_size=1, max_size=12),
    lengths=st.lists(st.integers(20, 200), min_size=12, max_size=12),
)
def test_listeners_within_the_capacity_hear_no_gap(starts, lengths):
    """12 listeners, 8 slots; a step of one to four frames takes 30 ms, as on two cores."""
    run = Run(step=0.03, read=0.02)
    plan = sorted(zip(starts, lengths, strict=False))
    while plan or run.scheduler.open or run.scheduler.waiting:
        while plan and plan[0][0] <= run.now:
            run.submit(chunk(f"r{len(run.heard)}", plan.pop(0)[1]))
        if not run.round():
            run.now = plan[0][0] if plan else math.inf
    assert all(request.gaps == 0 for request in run.heard)
    assert all(run.first[r] - r.arrived < 1.0 for r in run.heard)
