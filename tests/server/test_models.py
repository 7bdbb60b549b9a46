"""Several models in one process: the account of who must go, on a clock that only the test moves,
and a server whose models come when they are asked for and go when nobody does."""

import gc
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptts_jax
from ptts_jax.engine.core import Closed
from ptts_jax.engine.service import Engine
from ptts_jax.server.errors import ApiError
from ptts_jax.server.models import Loaded, Models
from ptts_jax.server.shelf import NoRoom, Shelf
from ptts_jax.server.voices import Voices
from tests.server.conftest import serving_models
from tests.support import tiny_files

NAMES = ("a", "b", "c")


def shelf(*here: str, **limits) -> Shelf:
    """Models of 100 bytes, put there one second after the other."""
    made = Shelf(NAMES, **limits)
    for second, name in enumerate(here):
        made.put(name, 100, float(second))
    return made


def test_what_nobody_uses_for_long_must_go():
    models = shelf("a", "b", idle_seconds=10)
    models.borrow("a", 2.0)
    assert models.idle(10.9) == [] and models.idle(11.0) == ["b"]
    assert models.idle(1e9) == ["b"], "what is used stays, for however long"
    models.give_back("a", 50.0)
    assert models.idle(59.0) == ["b"] and models.idle(60.0) == ["a", "b"]
    assert shelf("a").idle(1e9) == [], "without a limit everything stays"


def test_whoever_was_not_used_for_longest_makes_room():
    models = shelf("a", "b", most_bytes=250)
    models.borrow("a", 5.0)
    models.give_back("a", 6.0)
    assert models.make_room("c") == ["b"]
    models.borrow("b", 7.0)
    assert models.make_room("c") == ["a"]
    models.borrow("a", 8.0)
    with pytest.raises(NoRoom):
        models.make_room("c")


def test_a_model_that_turns_out_larger_makes_room_then():
    models = shelf("a", "b", most_bytes=350)
    assert models.make_room("c") == []
    assert models.put("c", 200, 9.0) == ["a"]
    models.take_away("a")
    with pytest.raises(NoRoom, match="max_memory"):
        models.put("a", 400, 10.0)


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(["borrow", "back", "sweep"])),
        max_size=40,
    ),
    sizes=st.tuples(*[st.integers(1, 100)] * 3),
)
def test_no_model_in_use_ever_goes_and_the_bound_holds(steps, sizes):
    models, size = (
        Shelf(NAMES, idle_seconds=3, most_bytes=120),
        dict(zip(NAMES, sizes, strict=True)),
    )
    users = dict.fromkeys(NAMES, 0)

    def go(leaving) -> None:
        for gone in leaving:
            assert users[gone] == 0
            models.take_away(gone)

    for now, (name, step) in enumerate(steps):
        if step == "borrow":
            try:
                if not models.places[name].here:
                    go(models.make_room(name))
                    go(models.put(name, size[name], now))
                models.borrow(name, now)
                users[name] += 1
            except NoRoom:
                used = sum(size[n] for n in NAMES if n != name and users[n])
                largest = max(size.values())
                assert used + max(size[name], largest) > 120
        elif step == "back" and users[name]:
            models.give_back(name, now)
            users[name] -= 1
        elif step == "sweep":
            go(models.idle(now))
        assert sum(size[n] for n in NAMES if models.places[n].here) <= 120


# With real models.


@pytest.fixture(scope="module")
def folder(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("voices")
    ptts_jax.load(files.yaml).voice(tiny_files.speech(1.0)).save(folder / "anna.safetensors")
    return folder


@pytest.fixture
def loader(files, folder):
    """Loads the same tiny model under any name, and says which were loaded."""

    class Loader:
        def __init__(self) -> None:
            self.names: list[str] = []
            self.alive: list[weakref.ref] = []

        def __call__(self, name: str) -> Loaded:
            self.names.append(name)
            tts = ptts_jax.load(files.yaml)
            self.alive.append(weakref.ref(tts))
            return Loaded(Engine(tts, 2), Voices(tts, folder))

    return Loader()


def test_two_who_ask_at_once_load_once(loader):
    models, got = Models(NAMES, loader), []

    def ask() -> None:
        got.append(models.borrow("b")[1])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loader.names == ["b"] and len({id(loaded) for loaded in got}) == 1
    models.close()
    with pytest.raises(Closed):
        models.borrow("a")


def test_an_unused_model_leaves_the_memory(loader):
    now = [0.0]
    models = Models(NAMES, loader, idle_seconds=5, clock=lambda: now[0])
    with models.lent("b"):
        now[0] = 100
        models.sweep()
        assert list(models.here) == ["b"]
    now[0] = 105
    models.sweep()
    gc.collect()
    assert models.here == {} and loader.alive[0]() is None
    assert not [t for t in threading.enumerate() if t.name.startswith("ptts-engine")]


def test_a_model_that_cannot_be_loaded_is_said_and_tried_again(loader):
    def broken(name: str) -> Loaded:
        raise ValueError("/secret/path is damaged")

    models = Models(NAMES, broken)
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            models.borrow("a")
        assert refused.value.status == 503 and "secret" not in refused.value.message


@pytest.mark.slow
def test_the_request_chooses_and_nothing_under_way_is_dropped(loader):
    now = [0.0]
    models = Models(NAMES, loader, idle_seconds=5, clock=lambda: now[0])
    with models.lent():
        pass
    with serving_models(models) as served:

        def loaded() -> list[str]:
            listed = served.http.get("/v1/models").json()["data"]
            assert [model["id"] for model in listed] == list(NAMES)
            return [model["id"] for model in listed if model["loaded"]]

        assert loaded() == ["a"]
        assert served.speak(model="tts-1").status_code == 200
        assert served.speak().status_code == 200
        assert loaded() == ["a"], "clients of OpenAI get the first"
        unknown = served.speak(model="nobody")
        assert unknown.status_code == 404 and unknown.json()["error"]["param"] == "model"
        body = {"input": "Hello there. " * 12, "model": "b", "response_format": "pcm", "seed": 3}
        with served.http.stream("POST", "/v1/audio/speech", json=body) as answer:
            assert answer.status_code == 200 and loaded() == ["a", "b"]
            assert served.http.get("/ready").json()["loaded"] == {"a": True, "b": True, "c": False}
            now[0] = 1000.0
            models.sweep()
            assert "b" in loaded(), "it still speaks"
            heard = b"".join(answer.iter_raw())
        assert heard == served.speak(**{**body, "model": "a"}).content
        now[0] = 2000.0
        ends = time.monotonic() + 30
        while loaded():
            assert time.monotonic() < ends
            time.sleep(0.05)
        metrics = served.http.get("/metrics").text
        assert "ptts_models 0" in metrics and "ptts_slots 0" in metrics
        assert served.http.get("/ready").status_code == 200
        assert served.speak().status_code == 200, "it comes back when it is asked for"
