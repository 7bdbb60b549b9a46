"""python -m ptts_jax.serve as a process: it starts, speaks, ends in order, refuses in one line."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from ptts_jax import bundled, serve

needs_bundled = pytest.mark.skipif(not bundled.available(), reason="a copy without the model")


@contextlib.contextmanager
def started(*flags: str, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process and where it listens."""
    model = [] if any(flag.startswith("--model") for flag in flags) else ["--model=bundled"]
    command = [sys.executable, "-m", "ptts_jax.serve", *model, "--port=0", *flags]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                yield process, found[0]
                return
        raise AssertionError("it ended without a word")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_until_ready(client: httpx.Client) -> None:
    ends = time.monotonic() + 300
    while client.get("/ready").status_code != 200:
        assert time.monotonic() < ends, "it is never ready"
        time.sleep(0.1)


@needs_bundled
def test_it_serves_until_it_is_asked_to_end():
    with started("--slots=1") as (process, url):
        client = httpx.Client(base_url=url, timeout=300, trust_env=False)
        wait_until_ready(client)
        body = {"input": "One moment, please.", "response_format": "wav"}
        with client.stream("POST", "/v1/audio/speech", json=body) as answer:
            assert answer.status_code == 200
            parts = answer.iter_raw()
            first = next(parts)
            process.send_signal(signal.SIGTERM)  # what is under way is still spoken
            whole = first + b"".join(parts)
        assert whole[:4] == b"RIFF" and len(whole) > 16000
        assert process.wait(60) == 0


def refusal(*flags: str, **environment: str) -> str:
    command = [sys.executable, "-m", "ptts_jax.serve", *flags]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )
    assert done.returncode == 1
    assert done.stdout == "" and done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port}" in refusal("--model=bundled", f"--port={port}")


def test_what_is_wrong_is_said_in_one_line(tmp_path, capsys):
    def said(*flags: str) -> str:
        assert serve.main(["serve", *flags]) == 1
        return capsys.readouterr().err

    assert "api_key" in said("--host=0.0.0.0")
    assert "no such folder" in said(f"--voices={tmp_path / 'none'}")
    assert "1, 2, 4 or 8" in said("--slots=3")
    assert "threads" in said("--threads=0")
    assert "port" in said("--port=70000")
