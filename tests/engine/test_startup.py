"""What happens before the work: the cache of compiled functions, and voices made before."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ptts_jax.engine import startup
from ptts_jax.engine.voice_store import VoiceStore
from ptts_jax.engine.voices import Voice


def test_only_what_is_known_to_be_broken_is_thrown_away(tmp_path):
    entries = {
        "cut-cache": b"\x78\x9c\x01",
        "empty-cache": b"",
        "zstd-cache": b"\x28\xb5\x2f\xfd cut",
        "later-cache": b"\x02 of a format that is not known here",
        "notes.txt": b"\x78 not ours",
    }
    for name, content in entries.items():
        (tmp_path / name).write_bytes(content)
    startup._mend(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert {"later-cache", "notes.txt"} <= left
    assert not {"cut-cache", "empty-cache"} & left


def _slow(x):
    for i in range(60):
        x = jnp.sin(x @ x + i)
    return x


def test_long_compiling_is_announced_once_and_counted(monkeypatch):
    monkeypatch.setattr(startup, "LONG", 0.0)
    said = []
    with startup.CompileWatch(lambda: said.append(1)) as watch:
        for size in (3, 4):
            jax.jit(_slow)(np.ones((size, size), np.float32))
    assert said == [1] and watch.seconds > 0
    counted = watch.seconds
    jax.jit(_slow)(np.ones((5, 5), np.float32))  # nobody watches
    assert said == [1] and watch.seconds == counted
    jax.clear_caches()
    with startup.CompileWatch(lambda: said.append(2)) as watch:
        jax.jit(_slow)(np.ones((5, 5), np.float32))  # from the cache on disk
    assert watch.seconds == 0


COMPILES = """
import json, sys
import jax, numpy as np
from jax import monitoring
from ptts_jax.engine import startup
names = []
monitoring.register_event_listener(lambda event, **_: names.append(event.rpartition("/")[2]))
startup.use_compilation_cache(sys.argv[1])
jax.jit(lambda x: x @ x + 1)(np.ones((3, 3), np.float32))
print(names.count("compile_requests_use_cache"), names.count("cache_hits"))
"""


def test_a_cache_may_be_moved(tmp_path):
    """As into an image; and the code that compiles may stand in another folder."""
    environment = os.environ | {"PYTHONPATH": os.getcwd()}

    def compile_in(code: Path, cache: Path) -> list[int]:
        code.parent.mkdir(parents=True)
        code.write_text(COMPILES)
        call = [sys.executable, str(code), str(cache)]
        done = subprocess.run(call, env=environment, capture_output=True, check=True)
        return [int(n) for n in done.stdout.split()]

    first = compile_in(tmp_path / "a" / "work.py", tmp_path / "cache")
    assert first[0] > 0 and first[1] == 0
    shutil.move(tmp_path / "cache", tmp_path / "image" / "elsewhere")
    moved = compile_in(tmp_path / "b" / "deeper" / "work.py", tmp_path / "image" / "elsewhere")
    assert moved[1] == moved[0] == first[0]


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
from ptts_jax.engine import startup
startup.check_process()
pid = os.fork()
if pid == 0:
    try:
        startup.check_process()
    except RuntimeError as error:
        os._exit(7 if "spawn" in str(error) else 8)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_forked_child_is_refused():
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    assert subprocess.run([sys.executable, "-c", FORKED], env=environment).returncode == 7


# Voices that are kept.


def voice(megabytes: int = 0) -> Voice:
    layer = np.zeros((1, 1 + megabytes * 2**17, 1), np.float32)  # half of it, with values
    return Voice((layer,), (layer,))


def test_a_voice_that_several_threads_want_is_made_once():
    store, calls, start = VoiceStore(), [], threading.Barrier(4)

    def make() -> Voice:
        calls.append(threading.get_ident())
        time.sleep(0.05)  # in which the others ask
        return voice()

    found = []

    def ask() -> None:
        start.wait()
        found.append(store.get("me", make))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert len(calls) == 1 and len({id(v) for v in found}) == 1


def test_a_voice_that_cannot_be_made_may_be_asked_for_again():
    store = VoiceStore()

    def broken() -> Voice:
        raise ValueError("no")

    for _ in range(2):
        try:
            store.get("me", broken)
        except ValueError as error:
            assert str(error) == "no"
    assert store.get("me", voice).length == 1


def test_voices_are_kept_by_their_bytes():
    store = VoiceStore(most=5 << 20)
    first = store.get(0, lambda: voice(2))
    store.get(1, lambda: voice(2))
    assert store.get(0, voice) is first  # asked for last, so 1 goes first
    store.get(2, lambda: voice(2))
    assert store.get(0, voice) is first
    assert store.get(1, voice).length == 1  # made anew
    large = store.get(3, lambda: voice(9))
    assert store.get(3, voice) is large  # the latest stays, whatever it has
