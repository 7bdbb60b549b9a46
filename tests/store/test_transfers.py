"""Transfers that are cut, stalled or killed, plain URLs, and what is said meanwhile."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ptts_jax.store import hub
from ptts_jax.store.hub import HubError, fetch
from tests.support.fetching import BIG, LATEST, MODEL, OTHER, SOON, failure, parts

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def voice_url(server):
    return f"{server.url}/files/voice%20one.wav"


def run(code: str, **popen: object) -> subprocess.Popen:
    code = f"from ptts_jax.store.hub import fetch\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], text=True, **popen)


# Transfers that break off.


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_broken_transfer_is_continued_at_once(kind, server, voice_url):
    for source in (MODEL, voice_url):
        before = len(server.requests)
        server.fault(kind, after=300_000, times=1)
        assert fetch(source).read_bytes() == BIG
        assert "bytes=300000-" in [r.range for r in server.requests[before:]]
        server.clear()


def test_transfer_that_never_gets_on_leaves_what_it_got(server, tmp_path):
    server.fault("cut", after=300_000, times=1)
    server.fault("cut", after=0)
    error = failure(MODEL)
    assert error.reason == "cut" and "continue" in str(error)
    assert hub.cached(MODEL) is None
    assert [part.stat().st_size for part in parts(tmp_path)] == [300_000]
    server.clear()
    assert fetch(MODEL).read_bytes() == BIG
    assert server.served("/cdn/")[-1].range == "bytes=300000-"
    assert parts(tmp_path) == []


def test_server_without_ranges_starts_over(server, voice_url):
    server.ranges = False
    for source in (MODEL, voice_url):
        server.fault("cut", after=300_000, times=2)
        assert fetch(source).read_bytes() == BIG
        server.clear()


def test_server_that_always_cuts_and_has_no_ranges_is_given_up(server):
    server.ranges = False
    server.fault("cut", after=300_000)
    assert failure(MODEL).reason == "cut"


def test_slow_but_living_transfer_is_not_killed(server, monkeypatch, voice_url):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    server.fault("slow", rate=4e5)  # 2.5 s in all
    for source in (MODEL, voice_url):
        assert fetch(source).read_bytes() == BIG


@pytest.mark.parametrize("kind", ["hub", "url"])
def test_killed_download_is_continued(kind, server, tmp_path, voice_url):
    source = MODEL if kind == "hub" else voice_url
    fault = server.fault("slow", rate=2e5)
    child = run(f"fetch({source!r})")
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size > 100_000 for part in parts(tmp_path)):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert hub.cached(source) is None
    left = parts(tmp_path)[0].stat().st_size
    fault.times = 0
    assert fetch(source).read_bytes() == BIG
    assert server.requests[-1].range == f"bytes={left}-"
    assert parts(tmp_path) == []


@pytest.mark.parametrize("kind", ["hub", "url"])
def test_two_processes_fetch_the_same_file_once(kind, server, tmp_path, voice_url):
    source = MODEL if kind == "hub" else voice_url
    server.fault("slow", rate=1e6)
    children = [run(f"print(fetch({source!r}))", stdout=subprocess.PIPE) for _ in range(2)]
    outputs = {child.communicate()[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert len(outputs) == 1
    assert Path(outputs.pop()).read_bytes() == BIG
    assert len([r for r in server.served() if r.status == 200]) == 1
    assert parts(tmp_path) == []


def test_two_threads_fetch_the_same_file_once(server):
    server.fault("slow", rate=2e6)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(fetch, [MODEL, MODEL]))
    assert paths[0] == paths[1] and paths[0].read_bytes() == BIG
    assert len(server.served("/cdn/")) == 1


def test_damaged_part_is_thrown_away(server, tmp_path):
    server.fault("cut", after=300_000, times=1)
    server.fault("cut", after=0)
    failure(MODEL)
    server.clear()
    part = parts(tmp_path)[0]
    part.write_bytes(b"\0" * 1000)
    error = failure(MODEL)
    assert error.reason == "cut" and "damaged" in str(error)
    assert hub.cached(MODEL) is None
    assert fetch(MODEL).read_bytes() == BIG


def test_part_that_is_too_long_is_started_over(server, tmp_path):
    server.fault("cut", after=10, times=1)
    server.fault("cut", after=0)
    failure(MODEL)
    server.clear()
    parts(tmp_path)[0].write_bytes(BIG + b"more")
    assert fetch(MODEL).read_bytes() == BIG


def test_unwritable_cache(monkeypatch, tmp_path, voice_url):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "file"))
    for source in (MODEL, voice_url):
        error = failure(source)
        assert error.reason == "disk" and "HF_HOME" in str(error)


# Plain URLs.


def test_plain_url_is_kept_and_checked(server, voice_url, monkeypatch):
    path = fetch(voice_url)
    assert path.read_bytes() == BIG
    assert path.suffix == ".wav" and path.is_relative_to(hub.cache_dir())
    before = len(server.requests)
    assert fetch(voice_url) == path
    assert [r.range for r in server.requests[before:]] == ["bytes=0-0"]

    server.plain["/files/voice one.wav"] = OTHER
    for kind in ("404", "500"):
        server.fault(kind, times=1)
    with pytest.raises(HubError, match="no such file"):
        fetch(voice_url)
    assert fetch(voice_url).read_bytes() == BIG  # while the server fails
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(voice_url).read_bytes() == BIG
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    assert fetch(voice_url).read_bytes() == OTHER


@pytest.mark.parametrize("validators", [True, False], ids=["told", "nobody_can_tell"])
def test_plain_url_that_changes_between_two_attempts(validators, server, voice_url):
    server.validators = validators
    server.fault("cut", after=300_000, times=1)
    server.fault("cut", after=0)
    assert failure(voice_url).reason == "cut"
    server.clear()
    server.plain["/files/voice one.wav"] = OTHER
    assert fetch(voice_url).read_bytes() == OTHER


def test_empty_file(server):
    assert fetch(f"{server.url}/empty.yaml").read_bytes() == b""


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("401", "access"), ("404", "missing"), ("500", "server"), ("hang", "unreachable")],
)
def test_plain_url_failures(kind, reason, server, voice_url):
    server.fault(kind)
    start = time.monotonic()
    assert failure(voice_url).reason == reason
    assert time.monotonic() - start < SOON


# What it says meanwhile.


def test_silent_without_a_terminal(voice_url):
    code = f"fetch({MODEL!r}), fetch({LATEST!r}), fetch({voice_url!r})"
    child = run(code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert child.communicate()[0] == ""
    assert child.returncode == 0


def test_progress_on_a_terminal(capsys, monkeypatch, voice_url):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(MODEL)
    err = capsys.readouterr().err
    assert "model.safetensors" in err and "1.0/1.0 MB 100%" in err and err.endswith("\n")
    fetch(voice_url, quiet=True)
    assert capsys.readouterr().err == ""
