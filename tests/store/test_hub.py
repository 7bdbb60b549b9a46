"""Fetching files from a fake hub with every fault it knows, and from its cache."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptts_jax.store import hub
from ptts_jax.store.hub import fetch, fetch_first
from tests.support.fakehub import TOKEN, blackhole, closed_url
from tests.support.fetching import BIG, LATEST, MODEL, OTHER, PIN, SOON, failure, parts

pytestmark = pytest.mark.usefixtures("client")

GATED = f"hf://kyutai/gated/model.safetensors@{PIN}"

PUBLIC = f"hf://kyutai/public/model.safetensors@{PIN}"


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
        "import sys, ptts_jax.store.hub\n"
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
