"""Fetching files: from a fake hub with every fault it knows, cut and killed transfers, caches."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ptts_jax import hub
from ptts_jax.hub import HubError, fetch, fetch_first
from tests.fakehub import TOKEN, FakeHub, blackhole, closed_url

BIG = bytes(range(256)) * 4000  # 1 MB: stored as large files are
OTHER = BIG[::-1]
PIN = "0123456789abcdef0123456789abcdef01234567"
MODEL = f"hf://kyutai/model/deep/model.safetensors@{PIN}"
GATED = f"hf://kyutai/gated/model.safetensors@{PIN}"
PUBLIC = f"hf://kyutai/public/model.safetensors@{PIN}"
LATEST = "hf://kyutai/model/voice.bin"
SOON = 20.0  # seconds: far above what giving up may take, far below what the client's own takes


@pytest.fixture
def server():
    files = {
        ("kyutai/model", PIN): {"deep/model.safetensors": BIG, "small.yaml": b"a: 1\n"},
        ("kyutai/model", "main"): {"voice.bin": BIG, "small.yaml": b"a: 1\n"},
        ("kyutai/gated", PIN): {"model.safetensors": BIG},
        ("kyutai/public", PIN): {"model.safetensors": OTHER},
    }
    plain = {"/files/voice one.wav": BIG, "/empty.yaml": b""}
    with FakeHub(files, gated={"kyutai/gated"}, plain=plain) as running:
        yield running


@pytest.fixture(autouse=True)
def client(server, tmp_path, monkeypatch):
    """The client's side: caches in an empty folder, nobody logged in, short patience."""
    for name, value in server.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "2")
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)


@pytest.fixture
def voice_url(server):
    return f"{server.url}/files/voice%20one.wav"


def failure(*sources: str) -> HubError:
    """The error of fetching these, after a look at what every error must be."""
    with pytest.raises(HubError) as caught:
        fetch_first(sources)
    text = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in text and len(text) < 700
    assert all(source in text for source in sources)
    return caught.value


def parts(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.suffix in (".incomplete", ".part")]


def run(code: str, **popen: object) -> subprocess.Popen:
    code = f"from ptts_jax.hub import fetch\n{code}"
    return subprocess.Popen([sys.executable, "-c", code], text=True, **popen)


# Names.


def test_local_paths(tmp_path, monkeypatch):
    file = tmp_path / "voice.wav"
    file.write_bytes(b"x")
    assert fetch(file) == file
    assert fetch(str(file)) == file
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch("~/voice.wav") == file
    assert "no such file" in str(failure(str(tmp_path / "none.wav")))
    assert "folder" in str(failure(str(tmp_path)))


@pytest.mark.parametrize(
    "source",
    [
        "hf://kyutai/model",
        "hf://kyutai",
        "hf://kyutai//file.bin",
        "hf://kyutai/model/../../../etc/passwd",
        "hf://kyutai/model/file.bin@",
        "hf://kyutai/model/file.bin@/etc/passwd",
        "hf://kyutai/model/file.bin@a/../../b",
        "ftp://example.com/file.bin",
        "http://example.com/file.bin",
    ],
)
def test_senseless_sources_say_how_to_write_them(source, server):
    error = failure(source)
    assert error.reason == "source"
    assert "hf://owner/repo/path" in str(error) or "https://" in str(error)
    assert server.requests == []


def test_addresses_copied_from_the_site_mean_the_hub():
    for kind in ("blob", "resolve", "raw"):
        url = f"https://huggingface.co/kyutai/model/{kind}/{PIN}/deep/model.safetensors"
        assert fetch(url) == fetch(MODEL)


def test_cache_dir(monkeypatch, tmp_path):
    assert hub.cache_dir() == tmp_path / "ptts_jax"
    monkeypatch.delenv("PTTS_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert hub.cache_dir() == Path("/x/ptts_jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert hub.cache_dir() == Path.home() / ".cache" / "ptts_jax"


def test_importing_loads_no_client():
    code = (
        "import sys, ptts_jax.hub\n"
        "print([m for m in sys.modules if m.startswith(('huggingface', 'httpx'))])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# Model files.


def test_fetches_and_shares_the_cache_with_the_clients_library(server, tmp_path):
    path = fetch(MODEL)
    assert path.read_bytes() == BIG
    assert path.name == "model.safetensors"
    small = fetch("hf://kyutai/model/small.yaml")
    assert small.read_bytes() == b"a: 1\n"
    code = (
        "from huggingface_hub import hf_hub_download as get\n"
        f"print(get('kyutai/model', 'deep/model.safetensors', revision='{PIN}'))\n"
        "print(get('kyutai/model', 'small.yaml', local_files_only=True))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[:2] == [str(path), str(small)]
    assert parts(tmp_path) == []


def test_uses_what_the_clients_library_downloaded(server):
    code = (
        "from huggingface_hub import hf_hub_download as get\n"
        f"print(get('kyutai/model', 'deep/model.safetensors', revision='{PIN}'))"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    before = len(server.requests)
    assert fetch(MODEL).read_bytes() == BIG
    assert len(server.requests) == before


def test_cached_pinned_revision_needs_no_network(server):
    path = fetch(MODEL)
    before = len(server.requests)
    server.fault("500")
    assert fetch(MODEL) == path
    assert len(server.requests) == before


def test_branch_is_followed_and_its_old_file_serves_while_the_hub_is_away(server, monkeypatch):
    assert fetch(LATEST).read_bytes() == BIG
    transfers = len(server.served("voice.bin"))
    assert fetch(LATEST).read_bytes() == BIG
    assert len(server.served("voice.bin")) == transfers

    server.files["kyutai/model", "main"]["voice.bin"] = OTHER
    server.fault("500", times=1)
    assert fetch(LATEST).read_bytes() == BIG
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = len(server.requests)
    assert fetch(LATEST).read_bytes() == BIG
    assert len(server.requests) == before
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", closed_url())
    assert fetch(LATEST).read_bytes() == BIG
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    assert fetch(LATEST).read_bytes() == OTHER


def test_offline_without_a_copy(server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = failure(MODEL)
    assert error.reason == "unreachable" and "HF_HUB_OFFLINE" in str(error)
    assert server.requests == []


@pytest.mark.parametrize(
    ("source", "reason", "words"),
    [
        ("hf://kyutai/nothing/a.bin", "missing", "no such repository"),
        ("hf://kyutai/model/none.bin", "missing", "no such file"),
        ("hf://kyutai/model/voice.bin@v9", "missing", "revision"),
        (GATED, "access", "hf auth login"),
    ],
)
def test_what_the_hub_does_not_give(source, reason, words):
    error = failure(source)
    assert error.reason == reason and words in str(error)


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    [
        ("401", "access", "401"),
        ("403", "access", "403"),
        ("404", "missing", "no such file"),
        ("429", "server", "too many requests"),
        ("500", "server", "server error 500"),
        ("503", "server", "server error 503"),
        ("200", "unreachable", "HF_ENDPOINT"),  # an answer, but no hub's: a login page
    ],
)
def test_bad_answers(kind, reason, words, server):
    server.fault(kind)
    error = failure(MODEL)
    assert error.reason == reason and words in str(error)
    server.clear()
    assert fetch(MODEL).read_bytes() == BIG


def test_gated_file_with_a_login(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch(GATED).read_bytes() == BIG


def test_gated_error_names_the_page_and_the_command(server):
    text = str(failure(GATED))
    assert f"{server.url}/kyutai/gated" in text and "`hf auth login`" in text


def test_stale_token_does_not_spoil_public_files(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    server.fault("401", times=1)
    assert fetch(MODEL).read_bytes() == BIG
    assert [r.authorization for r in server.served(method="HEAD")] == ["Bearer hf_stale", None]


# A gated file first, a public one instead.


def test_first_source_wins_where_it_can_be_had(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    path, index = fetch_first([GATED, PUBLIC])
    assert (path.read_bytes(), index) == (BIG, 0)


@pytest.mark.parametrize("kind", [None, "404", "500"])
def test_any_failure_leads_to_the_next_source(kind, server):
    if kind:
        server.fault(kind, "kyutai/gated")
    path, index = fetch_first([GATED, PUBLIC])
    assert (path.read_bytes(), index) == (OTHER, 1)


def test_refusal_is_remembered_until_somebody_logs_in(server, monkeypatch):
    fetch_first([GATED, PUBLIC])
    before = len(server.requests)
    assert fetch_first([GATED, PUBLIC])[1] == 1
    assert len(server.requests) == before  # a start without a login needs no network
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch_first([GATED, PUBLIC])[1] == 0
    monkeypatch.setenv("HF_TOKEN", "")
    assert fetch_first([GATED, PUBLIC])[1] == 0  # it is cached now


def test_refusal_is_asked_for_again_some_day(server, monkeypatch):
    fetch_first([GATED, PUBLIC])
    server.gated.clear()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hub.DENIED_FOR + 1)
    assert fetch_first([GATED, PUBLIC])[1] == 0


def test_other_failures_are_not_remembered(server):
    server.fault("500", "kyutai/gated", times=1)
    assert fetch_first([GATED, PUBLIC])[1] == 1
    server.gated.clear()
    assert fetch_first([GATED, PUBLIC])[1] == 0


def test_all_sources_failing_says_why_for_each(server):
    server.fault("503", "kyutai/public")
    error = failure(GATED, PUBLIC)
    assert error.reason == "server"
    assert "hf auth login" in str(error) and "server error 503" in str(error)


# Dead networks.


def test_silent_server_is_given_up_soon_and_asked_once(server, monkeypatch):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "2")
    server.fault("hang")
    start = time.monotonic()
    error = failure(GATED, PUBLIC)
    assert time.monotonic() - start < SOON
    assert error.reason == "unreachable" and "timed out" in str(error)
    assert len(server.requests) == 1


def test_network_that_swallows_packets(monkeypatch):
    with blackhole() as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        start = time.monotonic()
        error = failure(GATED, PUBLIC, f"{url}/file.yaml")
        assert time.monotonic() - start < SOON
    assert error.reason == "unreachable"
    assert str(error).count("timed out") == 1


def test_name_server_that_never_answers(monkeypatch):
    resolve = socket.getaddrinfo

    def stuck(host, *args, **kwargs):
        if host == "huggingface.test":
            time.sleep(60)
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.test")
    start = time.monotonic()
    assert failure(GATED, PUBLIC).reason == "unreachable"
    assert time.monotonic() - start < SOON


def test_refused_connection(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", closed_url())
    error = failure(GATED, PUBLIC)
    assert error.reason == "unreachable" and "no connection" in str(error)


def test_dead_network_and_a_cached_fallback(server, monkeypatch):
    fetch(PUBLIC)
    monkeypatch.setenv("HF_ENDPOINT", closed_url())
    path, index = fetch_first([GATED, PUBLIC])
    assert (path.read_bytes(), index) == (OTHER, 1)


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


def test_plain_url_without_validators(server, voice_url, tmp_path):
    server.validators = False
    server.fault("cut", after=300_000, times=1)
    server.fault("cut", after=0)
    assert failure(voice_url).reason == "cut"
    server.clear()
    server.plain["/files/voice one.wav"] = OTHER  # nobody could tell
    assert fetch(voice_url).read_bytes() == OTHER


def test_plain_url_that_changes_between_two_attempts(server, voice_url):
    server.fault("cut", after=300_000, times=1)
    server.fault("cut", after=0)
    failure(voice_url)
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


# Writing files.


def test_atomic_write(tmp_path):
    path = tmp_path / "a.json"
    with hub.atomic_write(path) as beside:
        assert beside.parent == tmp_path and beside.suffix == ".json"
        beside.write_text("one")
        assert not path.exists()
    for stop in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(stop), hub.atomic_write(path) as beside:
            beside.write_text("half")
            raise stop
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.json"]


def test_atomic_write_follows_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a.txt"
    target.write_text("old")
    (tmp_path / "link.txt").symlink_to(target)
    with hub.atomic_write(tmp_path / "link.txt") as beside:
        beside.write_text("new")
    assert (tmp_path / "link.txt").is_symlink() and target.read_text() == "new"
