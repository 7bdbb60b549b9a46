"""A model whose outputs one computes by hand: frame n of chunk "b:7" is ("b", n), of 7 in all."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ptts_jax.engine.scheduler import Made


@dataclass(eq=False)
class FakeRow:
    name: str
    length: int  # frames
    blocks: int = 1  # of text that must be read
    fails_at: int = -1  # the frame that cannot be made
    made: int = 0
    closed: bool = False

    def speak(self, count: int) -> Made:
        assert not self.closed and self.blocks == 0
        end = min(self.made + count, self.length)
        if self.made <= self.fails_at < end:
            raise ArithmeticError(f"{self.name} fails")
        frames = [(self.name, n) for n in range(self.made, end)]
        self.made = end
        return Made(frames, self.made == self.length)


@dataclass
class FakeModel:
    """Notes what it did: `log` holds ("read", name) and ("step", names)."""

    rows: list[FakeRow] = field(default_factory=list)
    log: list[tuple] = field(default_factory=list)

    @property
    def open_rows(self) -> list[FakeRow]:
        return [row for row in self.rows if not row.closed]

    def open(self, chunk: dict) -> FakeRow:
        self.rows.append(FakeRow(**chunk))
        return self.rows[-1]

    def read(self, row: FakeRow) -> Made | None:
        self.log.append(("read", row.name))
        row.blocks -= 1
        return row.speak(1) if row.blocks == 0 else None

    def step(self, rows: Sequence[FakeRow], count: int) -> list[Made | Exception]:
        assert len({id(row) for row in rows}) == len(rows)
        self.log.append(("step", tuple(row.name for row in rows)))
        made: list[Made | Exception] = []
        for row in rows:
            try:
                made.append(row.speak(count))
            except ArithmeticError as error:
                made.append(error)
        return made

    def close(self, row: FakeRow) -> None:
        assert not row.closed
        row.closed = True
