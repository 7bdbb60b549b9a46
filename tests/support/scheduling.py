"""Drives a scheduler with a model computed by hand and a clock that only the test moves."""

from ptts_jax.engine.scheduler import Request, Scheduler
from tests.support.fake_model import FakeModel

FRAME = 0.08


def chunk(name: str, length: int, **more: int) -> dict:
    return {"name": name, "length": length, **more}


def frames(name: str, length: int) -> list:
    return [(name, n) for n in range(length)]


class Run:
    """Drives a scheduler: each piece of work takes its time on a virtual clock."""

    def __init__(self, slots: int = 8, read: float = 0.02, step: float = 0.01, **limits: int):
        self.model = FakeModel()
        self.scheduler = Scheduler(self.model, slots=slots, **limits)
        self.now = 0.0
        self.cost = {"read": read, "step": step}
        self.heard: dict[Request, list] = {}
        self.first: dict[Request, float] = {}
        self.ends: dict[Request, list] = {}

    def submit(self, *chunks: dict, live: bool = True) -> Request:
        request = Request(chunks, FRAME, live)
        self.scheduler.submit(request, self.now)
        self.heard[request], self.ends[request] = [], []
        return request

    def round(self, reads: bool = True) -> bool:
        """One round; listeners take at once what there is, unless `reads` is False."""
        before = len(self.model.log)
        events = self.scheduler.round(self.now)
        for kind, _ in self.model.log[before:]:
            self.now += self.cost[kind]
        for event in events or []:
            assert not self.ends[event.request], "a request that has ended goes on"
            self.heard[event.request] += event.frames
            if event.frames:
                self.first.setdefault(event.request, self.now)
            if reads:
                event.request.taken = event.request.made
            if event.ended:
                self.ends[event.request].append(event.error)
        return events is not None

    def until_begun(self, request: Request) -> None:
        while request.made == 0:
            self.round()

    def done_in_a_round(self) -> list:
        before = len(self.model.log)
        self.round()
        return self.model.log[before:]

    def to_the_end(self) -> None:
        for _ in range(100_000):
            if not self.round():
                return
        raise AssertionError("it never ends")
