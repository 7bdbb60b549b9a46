"""The scheduler against a model computed by hand and a clock that only the test moves."""

import pytest

from ptts_jax.engine import scheduler
from ptts_jax.engine.scheduler import Full, ListenerLost
from tests.support.scheduling import Run, chunk, frames


def test_a_text_is_spoken_chunk_by_chunk():
    run = Run()
    request = run.submit(chunk("a", 12), chunk("b", 3, blocks=2))
    run.to_the_end()
    assert run.heard[request] == frames("a", 12) + frames("b", 3)
    assert run.ends[request] == [None]
    assert run.model.open_rows == []


def test_first_frames_come_one_by_one_then_several_in_a_step():
    run = Run()
    run.submit(chunk("a", 20))
    sizes = []
    while (events := run.scheduler.round(0.0)) is not None:
        sizes += [len(e.frames) for e in events]
    assert sizes == [1] * scheduler.SINGLES + [4, 4, 4]


def test_one_block_of_text_a_round_and_listeners_go_on_meanwhile():
    run = Run()
    run.submit(chunk("a", 50))
    for _ in range(5):
        run.round()
    run.submit(chunk("b", 5, blocks=3))
    run.model.log.clear()
    for _ in range(3):
        run.round()
    assert run.model.log == [("read", "b"), ("step", ("a",))] * 3


def test_no_more_rows_in_a_step_than_slots_and_all_get_their_turn():
    run = Run(slots=2, step=0.001)
    requests = [run.submit(chunk(str(i), 30)) for i in range(4)]
    for _ in range(12):
        run.round()
    assert max(len(names) for kind, names in run.model.log if kind == "step") == 2
    assert min(r.made for r in requests) >= 2
    run.to_the_end()
    assert [run.heard[r] for r in requests] == [frames(str(i), 30) for i in range(4)]


def test_steps_have_few_widths():
    run = Run()
    for i in range(7):
        run.submit(chunk(str(i), 60 + 10 * i))
    run.to_the_end()
    assert {len(names) for kind, names in run.model.log if kind == "step"} == {1, 2, 4}


def test_who_has_the_least_to_hear_goes_first():
    run = Run(slots=1)
    rich, poor = run.submit(chunk("rich", 99)), run.submit(chunk("poor", 99))
    run.until_begun(poor)
    rich.until, poor.until = run.now + 3, run.now + 1
    assert run.done_in_a_round() == [("step", ("poor",))]


def test_a_row_far_ahead_rests_while_another_is_hungry_and_goes_on_after():
    run = Run()
    far, new = run.submit(chunk("far", 99)), run.submit(chunk("new", 99))
    bulk = run.submit(chunk("bulk", 99), live=False)
    run.until_begun(bulk)
    far.until, new.until = run.now + 10, run.now + 0.1
    assert run.done_in_a_round() == [("step", ("new",))]
    new.until = run.now + 2
    run.round()
    run.round()
    stepped = [set(names) for _, names in run.model.log[-2:]]
    assert stepped == [{"new", "far"}, {"new", "bulk"}], "two rows at a time, and all get theirs"


def test_all_rest_while_the_decoder_is_behind_unless_somebody_is_hungry():
    run = Run()
    far, near = run.submit(chunk("far", 99)), run.submit(chunk("near", 99))
    bulk = run.submit(chunk("bulk", 99), live=False)
    run.until_begun(bulk)
    far.until, near.until = run.now + 10, run.now + 2
    run.model.log.clear()
    assert run.scheduler.round(run.now, behind=True) is None
    assert run.model.log == []
    near.until = run.now + 0.1
    assert run.scheduler.round(run.now, behind=True)
    assert run.model.log == [("step", ("near",))]


def test_a_newcomer_is_read_before_the_next_chunk_of_whoever_is_far_ahead():
    run = Run(step=0.0001)
    far = run.submit(chunk("a", 80), chunk("b", 80))
    while not (far.reading and far.made):
        run.round()
    run.submit(chunk("new", 3))
    assert run.done_in_a_round() == [("read", "new")]


def test_who_has_just_begun_to_listen_waits_for_nobody():
    run = Run()
    far, ready = run.submit(chunk("far", 99)), run.submit(chunk("ready", 99))
    run.until_begun(ready)
    new = run.submit(chunk("new", 99))
    run.until_begun(new)
    run.submit(chunk("next", 9))
    far.until, ready.until, new.until = run.now + 2, run.now + 0.5, run.now + 0.08
    assert run.done_in_a_round() == [("step", ("new", "ready"))], (
        "no text is read, few are beside it"
    )
    new.until = run.now + 0.3
    assert run.done_in_a_round() == [("read", "next"), ("step", ("new", "ready"))]


def test_a_newcomer_is_read_in_the_end_even_where_there_is_too_much_to_do():
    run = Run(slots=1, step=0.2)  # slower than real time
    old = run.submit(chunk("old", 999))
    while old.made < 20:
        run.round()
    new = run.submit(chunk("new", 999))
    run.until_begun(new)
    assert run.now - new.arrived < 1.0


@pytest.mark.parametrize("live", [True, False])
def test_where_somebody_listens_more_rows_have_fewer_frames_in_a_step(live):
    for rows, count in ((1, 4), (2, 4), (4, 2), (8, 2)):
        run = Run()
        requests = [run.submit(chunk(str(i), 99), live=live) for i in range(rows)]
        while min(r.made for r in requests) < scheduler.SINGLES:
            run.round()
        for r in requests if live else ():
            r.until = run.now + 5
        count = count if live else scheduler.SEVERAL
        before = [r.made for r in requests]
        run.round()
        assert [r.made - made for r, made in zip(requests, before, strict=True)] == [count] * rows


def test_a_crowds_steps_are_short_while_somebody_is_hungry():
    run = Run()
    requests = [run.submit(chunk(str(i), 99)) for i in range(8)]
    while min(r.made for r in requests) < scheduler.SINGLES:
        run.round()
    for r in requests:
        r.until = run.now + scheduler.NEAR
    requests[0].until = run.now + (scheduler.SOON + scheduler.HUNGRY) / 2
    before = requests[0].made
    run.round()
    assert requests[0].made - before == 1


def test_a_listener_who_does_not_read_is_not_spoken_to():
    run = Run()
    silent, other = run.submit(chunk("silent", 2000)), run.submit(chunk("other", 700))
    while run.round(reads=False):
        other.taken = other.made
    assert scheduler.AHEAD <= silent.made < scheduler.AHEAD + scheduler.SEVERAL
    assert run.heard[other] == frames("other", 700)
    silent.taken = 100
    assert run.round(), "there is room again"
    assert silent.made > scheduler.AHEAD
    assert silent.gaps == 0, "who has 20 s unread hears no gap"


def test_a_listener_who_never_comes_back_loses_the_row():
    run = Run()
    request = run.submit(chunk("a", 2000))
    while run.round(reads=False):
        pass
    run.now += scheduler.PATIENCE + 1
    assert run.round(reads=False)
    assert isinstance(run.ends[request][0], ListenerLost)
    assert run.model.open_rows == []


def test_the_waiting_list_is_bounded():
    run = Run(slots=1, most_waiting=2)
    for name in "ab":
        run.submit(chunk(name, 5))
    with pytest.raises(Full) as refused:
        run.submit(chunk("c", 5))
    assert refused.value.seconds == 2
    run.round()  # both have rows now
    last = run.submit(chunk("c", 5))
    run.to_the_end()
    assert run.heard[last] == frames("c", 5)


def test_work_without_listeners_leaves_rows_to_them():
    run = Run(slots=2)
    for i in range(6):
        run.submit(chunk(f"bulk{i}", 400), live=False)
    run.round()
    listener = run.submit(chunk("new", 5))
    run.round()
    assert run.heard[listener] == frames("new", 1)


def test_a_cancelled_request_frees_its_row_at_once():
    run = Run(slots=1)
    first, second, third = (run.submit(chunk(n, 50)) for n in "abc")
    run.round()
    run.scheduler.cancel(first)
    assert [row.name for row in run.model.open_rows] == []
    run.scheduler.cancel(third)  # it was still waiting
    run.scheduler.cancel(third)  # twice does no harm
    run.to_the_end()
    assert run.heard[second] == frames("b", 50)
    assert run.heard[third] == []


@pytest.mark.parametrize("moment", [0, 9])
def test_a_request_that_fails_fails_alone(moment):
    run = Run()
    good = run.submit(chunk("good", 30))
    bad = run.submit(chunk("bad", 30, fails_at=moment), chunk("never", 5))
    run.to_the_end()
    assert run.heard[good] == frames("good", 30)
    assert run.ends[good] == [None]
    assert run.heard[bad] == frames("bad", moment)[: len(run.heard[bad])]
    assert isinstance(run.ends[bad][0], ArithmeticError)
    assert run.model.open_rows == []


def test_a_failed_step_fails_its_rows_and_no_other():
    run = Run(slots=1)
    a, b = run.submit(chunk("a", 20)), run.submit(chunk("b", 20))
    step = run.model.step

    def broken(rows, count):
        run.model.step = step
        raise RuntimeError("out of memory")

    run.model.step = broken
    run.to_the_end()
    ended = {run.ends[r][0] is None for r in (a, b)}
    assert ended == {True, False}
    assert run.model.open_rows == []


def test_gaps_are_counted_once_for_each_wait():
    run = Run()
    request = run.submit(chunk("a", 40))
    for _ in range(3):
        run.round()
    run.now += 5
    run.round(), run.round()
    assert request.gaps == 1


def test_a_request_without_frames_ends():
    run = Run()
    model = run.model
    model.step = lambda rows, count: [scheduler.Made([], True) for _ in rows]
    request = run.submit(chunk("a", 9))
    run.to_the_end()
    assert run.ends[request] == [None]
