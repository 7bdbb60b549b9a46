"""Which models are in memory, who uses them, and which must go: an account without a clock.

Whoever drives it (the server, a test) brings the time, loads and unloads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


class NoRoom(Exception):
    """A model does not fit beside those that are in use."""


@dataclass
class Place:
    """A model's place on the shelf."""

    size: int = 0  # bytes, when it was last in memory; 0 while nobody knows
    here: bool = False
    users: int = 0
    since: float = 0.0  # when it was last put here or used


@dataclass
class Shelf:
    """Models by their names. One that is used is never among those that must go."""

    names: Sequence[str]
    idle_seconds: float | None = None  # None: an unused one stays
    most_bytes: int | None = None  # of all models together; None: any number
    places: dict[str, Place] = field(init=False)

    def __post_init__(self) -> None:
        self.places = {name: Place() for name in self.names}

    def make_room(self, name: str) -> list[str]:
        """Those to unload before a model is loaded, unused for longest first; or NoRoom."""
        size = self.places[name].size or max(p.size for p in self.places.values())
        return self._must_go(size, name)

    def put(self, name: str, size: int, now: float) -> list[str]:
        """A model was loaded. Those to unload now that its size is known; or NoRoom."""
        self.places[name].size = size
        leaving = self._must_go(size, name)
        place = self.places[name]
        place.here, place.since = True, now
        return leaving

    def _must_go(self, size: int, name: str) -> list[str]:
        if self.most_bytes is None:
            return []
        others = {n: p for n, p in self.places.items() if p.here and n != name}
        total, leaving = size + sum(p.size for p in others.values()), []
        for unused in sorted((n for n, p in others.items() if not p.users), key=self._age):
            if total <= self.most_bytes:
                break
            leaving.append(unused)
            total -= others[unused].size
        if size > self.most_bytes:
            raise NoRoom(f"{name}: it alone takes {size / 1e6:.0f} MB, more than --max_memory")
        if total > self.most_bytes:
            raise NoRoom(f"{name}: there is no room for it beside the models that are in use")
        return leaving

    def _age(self, name: str) -> float:
        return self.places[name].since

    def idle(self, now: float) -> list[str]:
        """Those that nobody has used for too long."""
        if self.idle_seconds is None:
            return []
        unused = [n for n, p in self.places.items() if p.here and not p.users]
        return [n for n in unused if now - self._age(n) >= self.idle_seconds]

    def take_away(self, name: str) -> None:
        """A model is unloaded."""
        self.places[name].here = False

    def borrow(self, name: str, now: float) -> None:
        """One user more."""
        self.places[name].users += 1
        self.places[name].since = now

    def give_back(self, name: str, now: float) -> None:
        """One user less."""
        self.places[name].users -= 1
        self.places[name].since = now
