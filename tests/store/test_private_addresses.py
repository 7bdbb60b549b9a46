"""What is not fetched: unsafe redirects, and addresses of a network's own."""

import socket

import httpx
import pytest

from ptts_jax.store.hub import fetch
from tests.support.fetching import BIG, MODEL, failure

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def hops(monkeypatch):
    """A client that is led from address to address, without a network."""
    leads = {}

    def answer(request):
        target = leads.get(str(request.url))
        if target is not None:
            return httpx.Response(302, headers={"Location": target})
        return httpx.Response(200, content=b"RIFF")

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: client)
    return leads


def test_a_redirect_to_plain_http_is_refused(hops):
    hops["https://host.example/a.wav"] = "https://host.example/b.wav"
    assert fetch("https://host.example/a.wav").read_bytes() == b"RIFF"
    hops["https://host.example/c.wav"] = "http://host.example/c.wav"
    error = failure("https://host.example/c.wav")
    assert error.reason == "source" and "not safe" in error.words


def test_redirects_without_end(hops):
    hops["https://host.example/a.wav"] = "https://host.example/a.wav"
    assert "leads on and on" in failure("https://host.example/a.wav").words


PRIVATE = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_where_that_is_asked(address, hops, monkeypatch):
    names = {"inside.example": address, "outside.example": "93.184.216.34"}
    found = lambda host, port: [(0, 0, 0, "", (names[host], 0))]  # noqa: E731
    monkeypatch.setattr(socket, "getaddrinfo", found)
    hops["https://outside.example/b.wav"] = "https://inside.example/b.wav"
    fetch("https://inside.example/a.wav")  # by default all is fetched
    monkeypatch.setenv("PTTS_JAX_PRIVATE", "0")
    fetch("https://outside.example/a.wav")
    for source in ("https://inside.example/c.wav", "https://outside.example/b.wav"):
        error = failure(source)
        assert error.reason == "source" and "inside.example is a private address" in error.words


def test_the_hub_that_is_set_up_is_no_stranger(monkeypatch, server):
    monkeypatch.setenv("PTTS_JAX_PRIVATE", "0")
    assert fetch(MODEL).read_bytes() == BIG
