"""The models of a server: loaded when somebody asks for them, unloaded when nobody does.

A model that speaks is never unloaded: each request holds it until its listener has all.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from ptts_jax.engine.core import Closed
from ptts_jax.engine.service import Engine
from ptts_jax.server.errors import ApiError
from ptts_jax.server.shelf import NoRoom, Shelf
from ptts_jax.server.voices import Voices

_log = logging.getLogger(__name__)

OPENAI_NAMES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # each is our first model
RETRY_SECONDS = 5  # when there was no room


@dataclass(frozen=True)
class Loaded:
    """A model in memory."""

    engine: Engine
    voices: Voices

    @property
    def size(self) -> int:
        """Bytes of its parameters."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.engine.tts.params))

    def warm(self) -> None:
        try:
            self.engine.warm(self.voices.resolve(None))
        except Closed:
            pass  # nobody waited for it any more
        except ValueError as error:  # no voice to warm it with; clients may bring some
            _log.warning("the first requests will compile: %s", error)


class Models:
    """Models by name; the first is the one for requests that name none. Safe between threads."""

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[str], Loaded],
        idle_seconds: float | None = None,
        most_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = tuple(names)
        self._load = load
        self._clock = clock
        self._shelf = Shelf(self.names, idle_seconds, most_bytes)
        self._loaded: dict[str, Loaded] = {}
        self._loading: set[str] = set()
        self._changed = threading.Condition()
        self._closing = False

    @classmethod
    def single(cls, engine: Engine, voices: Voices) -> "Models":
        """One model that is here already and stays."""
        models = cls([engine.tts.name], lambda name: Loaded(engine, voices))
        with models.lent():
            return models

    def find(self, asked: object) -> str:
        """The name of the model that a request means. Where there is one, it is that."""
        if not isinstance(asked, str | None):
            raise ApiError(400, "model: give a name", "model")
        if asked is None or asked in OPENAI_NAMES or len(self.names) == 1:
            return self.names[0]
        if asked not in self.names:
            words = f"there is no model {asked[:80]!r}; there are: {', '.join(self.names)}"
            raise ApiError(404, words, "model", "model_not_found")
        return asked

    def borrow(self, asked: str | None) -> tuple[str, Loaded]:
        """A model's name, and the model, which stays in memory until it is given back."""
        name = self.find(asked)
        with self._changed:
            self._changed.wait_for(lambda: name not in self._loading)
            if self._closing:
                raise Closed("the server is going down")
            if name in self._loaded:
                self._shelf.borrow(name, self._clock())
                return name, self._loaded[name]
            leaving = self._take_away(self._fitting(self._shelf.make_room, name))
            self._loading.add(name)
        _end(leaving)
        loaded = None
        try:
            loaded = self._loaded_anew(name)
            with self._changed:
                put = self._shelf.put
                fitting = self._fitting(put, name, loaded.size, self._clock())
                leaving = self._take_away(fitting)
                self._loaded[name] = loaded
                self._shelf.borrow(name, self._clock())
        except ApiError:
            _end([loaded] if loaded else [])
            raise
        finally:
            with self._changed:
                self._loading.discard(name)
                self._changed.notify_all()
        _end(leaving)
        return name, loaded

    def _loaded_anew(self, name: str) -> Loaded:
        began = self._clock()
        try:
            loaded = self._load(name)
        except (ValueError, OSError) as error:
            _log.error("%s cannot be loaded: %s", name, error)
            words = f"the model {name} cannot be loaded now; the server's log says why"
            raise ApiError(503, words, "model", "model_unavailable") from None
        _log.info("%s: loaded in %.1f s", name, self._clock() - began)
        return loaded

    def _fitting(self, account: Callable[..., list[str]], *arguments: object) -> list[str]:
        try:
            return account(*arguments)
        except NoRoom as error:
            headers = {"retry-after": str(RETRY_SECONDS)}
            raise ApiError(503, str(error), "model", "no_room", headers) from None

    def _take_away(self, names: Sequence[str]) -> list[Loaded]:
        for name in names:
            self._shelf.take_away(name)
        return [self._loaded.pop(name) for name in names]

    @contextmanager
    def lent(self, asked: str | None = None) -> Iterator[Loaded]:
        """A model for as long as the block lasts."""
        name, loaded = self.borrow(asked)
        try:
            yield loaded
        finally:
            self.give_back(name)

    def give_back(self, name: str) -> None:
        with self._changed:
            self._shelf.give_back(name, self._clock())

    def sweep(self) -> None:
        """Unloads what nobody has used for long."""
        with self._changed:
            idle = self._shelf.idle(self._clock())
            leaving = self._take_away(idle)
        for name in idle:
            _log.info("%s: unloaded, since nobody uses it", name)
        _end(leaving)

    @property
    def here(self) -> dict[str, Loaded]:
        """Those in memory now."""
        with self._changed:
            return dict(self._loaded)

    def close(self) -> None:
        """Ends every request and all threads."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._loading)
            leaving = list(self._loaded.values())
        for loaded in leaving:
            loaded.engine.close()


def _end(leaving: list[Loaded]) -> None:
    """Gives their memory back."""
    for loaded in leaving:
        loaded.engine.close()
    if leaving:
        leaving.clear()
        gc.collect()  # a model's parts know each other
