"""The server as a Ray Serve application, on a real cluster: the same HTTP, the same audio."""

import socket
import time

import httpx
import numpy as np
import pytest

from ptts_jax.server import ray_app
from ptts_jax.server.formats import int16
from tests.support import tiny_files

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(tts, tmp_path_factory):
    """A client of an application with one replica."""
    from ray import serve

    folder = tmp_path_factory.mktemp("ray")
    model = tiny_files.write(folder / "model").yaml
    (folder / "voices").mkdir()
    tts.voice(tiny_files.speech(1.0)).save(folder / "voices" / "anna.safetensors")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Its own, whatever cluster runs on this machine.
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        given = {"model": str(model), "int8": "false", "voices": str(folder / "voices")}
        given |= {"slots": "2", "cores": "1", "max_replicas": "1", "api_key": "secret"}
        serve.run(ray_app.app(given))
        url, key = f"http://127.0.0.1:{port}", {"Authorization": "Bearer secret"}
        with httpx.Client(base_url=url, headers=key, timeout=120, trust_env=False) as client:
            ends = time.monotonic() + 300
            while client.get("/ready").status_code != 200:
                assert time.monotonic() < ends
                time.sleep(0.2)
            yield client
    finally:
        serve.shutdown()
        ray.shutdown()


def test_a_replica_gives_the_audio_of_the_library_piece_by_piece(client, tts, tmp_path):
    body = {"input": "Hello there.", "voice": "anna", "seed": 3, "response_format": "pcm"}
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        pieces = list(answer.iter_raw())
    assert answer.status_code == 200 and len(pieces) > 1
    voice = tts.voice(tiny_files.speech(1.0))
    alone = int16(tts.generate("Hello there.", voice, seed=3, normalize=True))
    np.testing.assert_array_equal(np.frombuffer(b"".join(pieces), "<i2"), alone)


def test_the_other_routes_are_there(client):
    assert client.get("/v1/audio/voices").json()["voices"] == ["anna"]
    assert "ptts_queue_seconds" in client.get("/metrics").text
    wrong = client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "nobody"})
    assert wrong.status_code == 400 and "nobody" in wrong.json()["error"]["message"]
    client.headers["Authorization"] = "Bearer wrong"
    assert client.get("/v1/models").status_code == 401


def test_arguments_that_nobody_knows():
    with pytest.raises(ValueError, match="modle: there is no such argument; give model, int8, "):
        ray_app.app({"modle": "english"})
