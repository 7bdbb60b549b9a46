"""Servers as processes on one folder of voices: side by side, killed, and with a full disk."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from tests.commands.test_serve import wait_until_ready
from tests.server.conftest import Shared
from tests.server.test_server import recording

pytestmark = pytest.mark.slow

SLOW_DISK = (
    "import os, time\nwrite = os.fsync\nos.fsync = lambda f: (time.sleep(0.2), write(f))[1]\n"
)


def add(client: httpx.Client, name: str) -> httpx.Response:
    form = {"name": name, "consent": "true"}
    return client.post("/v1/audio/voices", data=form, files={"audio_sample": ("a", recording(0.5))})


def names(client: httpx.Client) -> list[str]:
    return sorted(client.get("/v1/audio/voices").json()["voices"])


def side_by_side(*works: Callable[[], Any]) -> list[Any]:
    results: list[Any] = [None] * len(works)

    def run(number: int) -> None:
        results[number] = works[number]()

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_servers_on_one_folder(shared: Shared):
    with shared.server() as (_, one), shared.server() as (_, other):
        assert add(one, "bob").status_code == 201
        assert names(one) == names(other) == ["anna", "bob"]
        spoken = other.post("/v1/audio/speech", json={"input": "Hello.", "voice": "bob"})
        assert spoken.status_code == 200
        assert other.delete("/v1/audio/voices/bob").status_code == 200
        assert names(one) == ["anna"]
        for number in range(5):  # who comes second is told so
            both = side_by_side(
                lambda n=number: add(one, f"carl{n}"), lambda n=number: add(other, f"carl{n}")
            )
            assert sorted(answer.status_code for answer in both) == [201, 409]

        def restless(client: httpx.Client, seed: int) -> Counter:
            rng, counted, ends = random.Random(seed), Counter(), time.monotonic() + 5
            while time.monotonic() < ends:
                name = rng.choice(("dora", "eve"))
                kind = rng.choice(("add", "remove", "speak"))
                if kind == "add":
                    answer = add(client, name)
                elif kind == "remove":
                    answer = client.delete(f"/v1/audio/voices/{name}")
                else:
                    body = {"input": "Hi.", "voice": name, "response_format": "pcm"}
                    answer = client.post("/v1/audio/speech", json=body)
                    assert str(shared.folder) not in answer.text
                counted[kind, answer.status_code] += 1
            return counted

        works = [lambda c=c, s=s: restless(c, s) for s, c in enumerate((one, other, one, other))]
        counted = sum(side_by_side(*works), Counter())
        known = {"add": (201, 409), "remove": (200, 404), "speak": (200, 400)}
        assert all(status in known[kind] for kind, status in counted), counted
        assert counted["add", 201] > 2 and counted["remove", 200] > 2, counted
        assert shared.check() == names(one) == names(other)
        assert not [file for file in shared.folder.iterdir() if file.name.startswith(".")]


def test_killed_while_a_voice_is_written(shared: Shared, tmp_path):
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW_DISK)
    path = os.pathsep.join([str(tmp_path / "slow"), *filter(None, sys.path)])
    rng = random.Random(3)
    for turn in range(3):
        with shared.server(PYTHONPATH=path) as (process, client):
            assert add(client, f"first{turn}").status_code == 201

            def adds(name: str, client: httpx.Client = client) -> None:
                with contextlib.suppress(httpx.TransportError):
                    for number in range(100):
                        add(client, f"{name}-{number}")

            def kill(process: subprocess.Popen = process) -> None:
                time.sleep(0.3 + rng.random())
                process.send_signal(signal.SIGKILL)

            side_by_side(kill, *(partial(adds, f"v{turn}-{thread}") for thread in range(3)))
        found = shared.check()
        assert f"first{turn}" in found
    assert any(file.name.startswith(".") for file in shared.folder.iterdir()), "killed too late"
    with shared.server() as (_, client):
        assert names(client) == found
        answer = client.post("/v1/audio/speech", json={"input": "Hello.", "voice": found[-1]})
        assert answer.status_code == 200


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits a running process")
def test_a_full_disk(shared: Shared):
    with shared.server() as (process, client):
        assert add(client, "bob").status_code == 201
        wait_until_ready(client)
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, -1))
        answer = add(client, "carl")
        assert answer.status_code == 507
        error = answer.json()["error"]
        assert "cannot be" in error["message"] and str(shared.folder) not in error["message"]
        assert error["type"] == "server_error"
        assert sorted(file.name for file in shared.folder.iterdir()) == [
            "anna.safetensors",
            "bob.safetensors",
        ]
        assert client.post("/v1/audio/speech", json={"input": "Hello."}).status_code == 200
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        assert add(client, "carl").status_code == 201
