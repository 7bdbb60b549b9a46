"""A server on loopback with a tiny model, in a thread of the tests' own process."""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import ptts_jax
from ptts_jax.engine import voices
from ptts_jax.engine.service import Engine
from ptts_jax.server.context import Context
from ptts_jax.server.models import Models
from ptts_jax.server.run import process
from ptts_jax.server.voices import Voices
from tests.commands.test_serve import started
from tests.support import browser, tiny_files
from tests.support.browser import Browser
from tests.support.page import enter

KEY = "a-secret"


class Served:
    """A running server, and a client that knows its key."""

    def __init__(self, context: Context, port: int) -> None:
        self.context = context
        [first] = context.models.here.values()
        self.engine, self.voices = first.engine, first.voices
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self.http = httpx.Client(
            base_url=self.url, headers=self.headers, timeout=60, trust_env=False
        )

    def speak(self, **body: Any) -> httpx.Response:
        return self.http.post("/v1/audio/speech", json={"input": "Hello there.", **body})

    def wait_until_idle(self) -> None:
        ends = time.monotonic() + 60
        while self.engine.busy != {"open": 0, "waiting": 0}:
            assert time.monotonic() < ends, "a row is never freed"
            time.sleep(0.005)


@contextlib.contextmanager
def serving_models(models: Models, **more: Any) -> Iterator[Served]:
    context = Context(models, **{"api_key": KEY, **more})
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = process(context, drain=5)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        served = Served(context, listener.getsockname()[1])
        try:
            ends = time.monotonic() + 300
            while not context.ready:
                assert time.monotonic() < ends and thread.is_alive(), "it is never ready"
                time.sleep(0.01)
            yield served
        finally:
            served.http.close()
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def serving(tts: Any, slots: int = 4, most_waiting: int = 16, **more: Any) -> Iterator[Served]:
    voices = Voices(tts, more.pop("voices", None), more.pop("allow_voice_urls", False))
    engine = Engine(tts, slots, most_waiting)
    if "model" in more:
        engine.core.rows = engine.core.scheduler.model = more.pop("model")
    with serving_models(Models.single(engine, voices), **more) as served:
        yield served


@pytest.fixture(scope="session")
def tts(files: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A tiny model whose default voice is a made-up recording."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        tts = ptts_jax.load(files.yaml)
        tts.voice(tiny_files.speech(1.0)).save(folder / "default.safetensors")
        patch.setattr(tts, "_default_voice", lambda: str(folder / "default.safetensors"))
        yield tts


@pytest.fixture(scope="session")
def served(tts: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("voices")
    tts.voice(tiny_files.speech(2.0, seed=3)).save(folder / "anna.safetensors")
    with serving(tts, voices=folder) as server:
        yield server
        server.wait_until_idle()


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.opened(tmp_path_factory.mktemp("downloads")) as opened:
        yield opened


@pytest.fixture
def page(served: Served, window: Browser) -> Iterator[Browser]:
    """The page. It must complain of nothing, and ask nobody else."""
    enter(window, served.url, KEY)
    yield window
    assert window.complaints() == []
    for address in window.requests():
        assert address.startswith((f"{served.url}/", "blob:", "data:")), address
    window.driver.get("about:blank")
    for file in window.downloads.iterdir():
        file.unlink()
    served.wait_until_idle()


class Shared:
    """A model and a folder of voices on disk, and how to start a server on them as a process."""

    def __init__(self, tts: Any, folder: Path) -> None:
        self.model = tiny_files.write(folder / "model").yaml
        self.folder = folder / "voices"
        self.folder.mkdir()
        tts.voice(tiny_files.speech(1.0)).save(self.folder / "anna.safetensors")

    @contextlib.contextmanager
    def server(
        self, *flags: str, **environment: str
    ) -> Iterator[tuple[subprocess.Popen, httpx.Client]]:
        ours = (f"--model={self.model}", "--noint8", f"--voices={self.folder}", "--slots=1")
        with (
            started(*ours, *flags, **environment) as (process, url),
            httpx.Client(base_url=url, timeout=300, trust_env=False) as client,
        ):
            yield process, client

    def check(self) -> list[str]:
        """The voices that are served, each of them whole."""
        files = [file for file in self.folder.iterdir() if not file.name.startswith(".")]
        for file in files:
            voices.read(file, tiny_files.CONFIG.flow_lm)
        return sorted(file.stem for file in files)


@pytest.fixture
def shared(tts: Any, tmp_path: Path) -> Shared:
    return Shared(tts, tmp_path)
