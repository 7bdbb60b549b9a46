"""Who may ask for what: keys, origins, sizes, voices, addresses; what the server says of itself."""

import io
import socket
import threading
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from ptts_jax.engine import loops
from ptts_jax.server import addresses, guard, run, voices
from ptts_jax.server.errors import ApiError
from ptts_jax.server.metrics import Metrics
from ptts_jax.server.voices import Voices
from tests.server.conftest import KEY, Served, serving
from tests.support import quick_model, tiny_files

TEXT = "The river was wide, and nobody knew how deep it ran."


def recording(seconds: float = 1.5, rate: int = 24000, kind: str = "WAV") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, tiny_files.speech(seconds, rate, seed=4), rate, format=kind)
    return out.getvalue()


def upload(served: Served, name: str, data: bytes, **form: str) -> httpx.Response:
    fields = {"name": name, "consent": "true", **form}
    return served.http.post("/v1/audio/voices", data=fields, files={"audio_sample": ("a", data)})


# Who may ask.


@pytest.mark.parametrize("key", [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", "Bearer ä"])
def test_without_the_key_nothing_is_served(served: Served, key):
    headers = {} if key is None else {"Authorization": key.encode("latin-1")}
    for path in ("/v1/models", "/metrics", "/v1/audio/voices"):
        answer = httpx.get(served.url + path, headers=headers, trust_env=False)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    for path in ("/health", "/ready"):
        assert httpx.get(served.url + path, headers=headers, trust_env=False).status_code == 200


def test_pages_from_elsewhere_are_not_served(served: Served):
    for name, value in (("Origin", "https://evil.example"), ("Origin", "null")):
        answer = served.http.get("/v1/models", headers={name: value})
        assert answer.status_code == 403
    ours = served.http.get("/v1/models", headers={"Origin": served.url})
    assert ours.status_code == 200


def test_a_name_that_was_made_to_point_here_is_not_served(served: Served, monkeypatch):
    from ptts_jax.server.guard import Guard

    async def reached(scope, receive, send):
        raise AssertionError("the guard let it through")

    guard = Guard(reached, None, 100, ("localhost", "127.0.0.1"), Metrics())
    client = TestClient(guard, base_url="http://evil.example:8000")
    assert client.get("/v1/models").status_code == 403


def test_a_large_body_is_refused_with_and_without_a_length(served: Served):
    large = b"x" * (voices.MOST_BYTES + (1 << 17))
    answer = served.http.post("/v1/audio/speech", content=large)
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"
    parts = (large[at : at + 65536] for at in range(0, len(large), 65536))
    try:
        assert served.http.post("/v1/audio/speech", content=parts).status_code == 413
    except httpx.HTTPError:  # it hung up before all was sent
        served.wait_until_idle()


def test_headers_that_never_end_are_hung_up_on(served: Served, monkeypatch):
    monkeypatch.setattr(run, "HEADER_SECONDS", 0.3)
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.settimeout(30)
        slow.sendall(b"GET /health HTTP/1.1\r\nX-Slow: ")
        assert slow.recv(100) == b""


def test_a_body_that_never_comes_is_not_waited_for(served: Served, monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.settimeout(30)
        head = f"POST /tts HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        slow.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n".encode())
        slow.sendall(b"Content-Length: 100\r\n\r\n--b")
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


# What it says of itself.


def test_models_and_voices(served: Served):
    listed = served.http.get("/v1/models").json()
    assert listed["data"][0]["id"] == served.engine.tts.name
    assert served.http.get("/v1/audio/models").json() == listed
    assert "anna" in served.http.get("/v1/audio/voices").json()["voices"]


def test_metrics(served: Served):
    served.speak(input="Hello there.")
    text = served.http.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines["ptts_slots"]) == 4
    assert float(lines['ptts_requests_total{result="finished"}']) >= 1
    assert float(lines["ptts_audio_seconds_total"]) > 0
    name = "ptts_first_audio_seconds"
    buckets = [float(n) for key, n in lines.items() if key.startswith(f"{name}_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == float(lines[f"{name}_count"])


# Voices.


def test_a_voice_comes_and_goes(served: Served, tts):
    assert upload(served, "bob", recording()).status_code == 201
    assert "bob" in served.http.get("/v1/audio/voices").json()["voices"]
    assert served.speak(voice="bob").status_code == 200
    assert upload(served, "bob", recording()).status_code == 409
    assert served.http.delete("/v1/audio/voices/bob").json()["deleted"] is True
    assert served.http.delete("/v1/audio/voices/bob").status_code == 404
    assert served.speak(voice="bob").status_code == 400


def test_a_voice_file_may_be_sent(served: Served, tts, tmp_path):
    tts.voice(tiny_files.speech(1.0)).save(tmp_path / "v.safetensors")
    assert upload(served, "filed", (tmp_path / "v.safetensors").read_bytes()).status_code == 201
    broken = (tmp_path / "v.safetensors").read_bytes()[:-100]
    assert upload(served, "broken", broken).status_code == 400
    served.http.delete("/v1/audio/voices/filed")


@pytest.mark.parametrize("consent", ["", "no", "false", "0"])
def test_no_voice_without_consent(served: Served, consent):
    answer = upload(served, "carl", recording(), consent=consent)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "consent"


@pytest.mark.parametrize(
    "name", ["", "../up", "a/b", "a\\b", ".hidden", "a.wav", "x" * 65, "C:", "\0", "alloy", "é"]
)
def test_names_that_are_no_names(served: Served, name):
    assert upload(served, name, recording()).status_code in (400, 409)


def test_nothing_outside_the_folder_is_removed_or_spoken(tts, tmp_path, monkeypatch):
    monkeypatch.setattr(loops, "decode_block", quick_model.decode_block)
    (tmp_path / "voices").mkdir()
    outside = tmp_path / "secret.wav"
    outside.write_bytes(recording())
    with serving(tts, voices=tmp_path / "voices", model=quick_model.QuickModel()) as served:
        for name in ("..%2fsecret", "%2e%2e%5csecret", "..%2Fsecret.wav", ".anna", "%00"):
            assert served.http.delete(f"/v1/audio/voices/{name}").status_code == 404
            assert served.speak(voice=unquote(name)).status_code == 400
    assert outside.exists()


def test_a_broken_file_in_the_folder_is_told_without_its_place(tts, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no voice")
    with pytest.raises(ApiError, match="the voice bad") as refused:
        Voices(tts, tmp_path).resolve("bad")
    assert str(tmp_path) not in refused.value.message


def test_a_folder_that_has_gone_holds_no_voices(tts, tmp_path):
    known = Voices(tts, tmp_path / "voices")
    assert known.names() == []
    with pytest.raises(ApiError) as refused:
        known.add("fay", recording())
    assert refused.value.status == 507


def test_recordings_that_are_none_or_too_long(served: Served):
    long_flac = io.BytesIO()
    soundfile.write(long_flac, np.zeros(24000 * 3600, np.int16), 24000, format="FLAC")
    assert len(long_flac.getvalue()) < 1 << 20, "a small file that decodes to an hour"
    cases = [b"", b"no audio", b"RIFF" + bytes(100), long_flac.getvalue(), recording(0.01)]
    wide = io.BytesIO()
    soundfile.write(wide, np.zeros((100, 8), np.float32), 24000, format="WAV")
    for data in [*cases, wide.getvalue()]:
        answer = upload(served, "dora", data)
        assert answer.status_code == 400, answer.text
    assert upload(served, "dora", bytes(voices.MOST_BYTES + 1)).status_code == 413


def test_two_servers_may_share_a_folder(tts, tmp_path):
    both = [Voices(tts, tmp_path), Voices(tts, tmp_path)]
    both[0].add("eve", recording())
    assert both[1].names()[0] == "eve"
    assert both[1].resolve("eve").length == both[0].resolve("eve").length
    (tmp_path / ".eve.0a0a.safetensors").write_bytes(b"what a killed process left")
    assert both[1].names() == ["eve"]
    both[1].remove("eve")
    with pytest.raises(ApiError):
        both[0].resolve("eve")


def test_a_full_disk_leaves_no_half_voice(tts, tmp_path, monkeypatch):
    def full(voice, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tts.voice()), "save", full)
    with pytest.raises(ApiError) as refused:
        Voices(tts, tmp_path).add("fay", recording())
    assert refused.value.status == 507
    assert list(tmp_path.iterdir()) == []


# Addresses of voices.

PRIVATE = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fe80::1", "fd00::1"]
PRIVATE += ["0.0.0.0", "::ffff:127.0.0.1", "100.64.0.1", "2002:7f00:1::"]


@pytest.mark.parametrize("ip", PRIVATE)
def test_no_address_leads_into_a_private_network(ip):
    def connect(*where):
        raise AssertionError("it connects")

    with pytest.raises(ValueError, match="private"):
        addresses.fetch(
            "https://voices.example/a.wav", 100, lambda *_: ["93.184.216.34", ip], connect
        )


@pytest.mark.parametrize(
    "address",
    [
        "http://a.example/",
        "file:///etc/passwd",
        "https://user@a.example/",
        "https://",
        "https://a:b/",
    ],
)
def test_addresses_of_another_kind(address):
    with pytest.raises(ValueError):
        addresses.fetch(address, 100, lambda *_: ["93.184.216.34"])


def _answering(*answers: bytes):
    """A plain server on loopback that gives these answers in turn, and how to connect to it."""
    import http.client

    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        for answer in answers:
            with listener.accept()[0] as client:
                client.recv(4096)
                client.sendall(answer)
        listener.close()

    threading.Thread(target=work, daemon=True).start()
    port = listener.getsockname()[1]
    return lambda host, ip, _: http.client.HTTPConnection("127.0.0.1", port, timeout=5)


def test_addresses_over_http(tts, monkeypatch):
    """Where they are allowed, those that lead inside are refused in words."""
    monkeypatch.setattr(loops, "decode_block", quick_model.decode_block)
    fetch = addresses.fetch

    def fetched(address: str, most: int) -> bytes:
        return recording() if "example" in address else fetch(address, most)

    monkeypatch.setattr(addresses, "fetch", fetched)
    with serving(tts, allow_voice_urls=True, model=quick_model.QuickModel()) as served:
        assert served.speak(voice="https://voices.example/a.wav").status_code == 200
        for address in ("https://localhost/a.wav", "https://127.1/a", "https://[::1]/a"):
            answer = served.speak(voice=address)
            assert answer.status_code == 400 and "private" in answer.json()["error"]["message"]
            form = served.http.post("/tts", data={"text": "Hello.", "voice_url": address})
            assert form.status_code == 400 and "private" in form.json()["detail"]


def test_a_redirect_is_checked_like_the_first_address():
    moved = b"HTTP/1.1 302 Found\r\nLocation: https://inside.example/\r\nContent-Length: 0\r\n\r\n"
    where = {"outside.example": ["93.184.216.34"], "inside.example": ["10.0.0.1"]}
    with pytest.raises(ValueError, match="private"):
        addresses.fetch("https://outside.example/", 100, lambda h, p: where[h], _answering(moved))
    plain = moved.replace(b"https://inside", b"http://inside")
    with pytest.raises(ValueError, match="https"):
        addresses.fetch("https://outside.example/", 100, lambda h, p: where[h], _answering(plain))


def test_what_an_address_gives_is_bounded():
    fine = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvoice"
    public = lambda *_: ["93.184.216.34"]  # noqa: E731
    assert addresses.fetch("https://a.example/", 5, public, _answering(fine)) == b"voice"
    with pytest.raises(ValueError, match="more than"):
        addresses.fetch("https://a.example/", 4, public, _answering(fine))
