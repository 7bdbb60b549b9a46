"""Executables that are kept: what is wrong with one costs time, and never gives another result."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptts_jax.engine import executables
from ptts_jax.engine.executables import Executables
from ptts_jax.model import kept
from tests.support import tiny_files
from tests.support.compilations import compilations


@pytest.fixture(autouse=True)
def plain_products(monkeypatch):
    monkeypatch.setenv("INT8_BACKEND", "xla")
    yield
    kept.keep(None)


def scaled(weights, state, by):
    return {"x": state["x"] * by + weights["w"]}


def fresh() -> kept.Function:
    """As a new process has it."""
    jax.clear_caches()
    return kept.Function(scaled, static=("by",), donate=("state",))


def speak(function: kept.Function, by: float = 2.0, size: int = 3) -> int:
    """How often it is compiled."""
    with compilations() as made:
        weights, x = {"w": np.full(size, 0.5, np.float32)}, jnp.arange(float(size))
        made.clear()
        out = np.asarray(function(weights, {"x": x}, by)["x"])
    assert np.array_equal(out, np.arange(size) * by + 0.5)
    return len(made)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{executables.SUFFIX}"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """With an entry that is good."""
    kept.keep(Executables(tmp_path / "kept", "processor"))
    assert speak(fresh()) > 0
    return tmp_path / "kept"


def test_the_next_process_does_not_compile(folder):
    assert len(entries(folder)) == 1
    assert speak(fresh()) == 0
    assert speak(fresh(), by=3.0) > 0
    assert speak(fresh(), size=4) > 0
    assert len(entries(folder)) == 3
    function = fresh()
    assert [speak(function, size=size) for size in (3, 4, 3)] == [0, 0, 0]


def test_parameters_of_another_kind_are_told_apart(folder):
    """Though all other arguments are alike."""
    function, x = fresh(), np.arange(3, dtype=np.float32)
    for w in (np.float32(0.5), np.full(3, 0.25, np.float16), np.full(3, 7, np.int8)) * 2:
        out = function({"w": w}, {"x": jnp.asarray(x)}, 2.0)["x"]
        assert np.array_equal(out, x * 2 + w.astype(np.float32))
    assert len(entries(folder)) == 4


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "garbage", "renamed"])
def test_a_damaged_entry_is_made_anew(folder, damage):
    [entry] = entries(folder)
    whole = entry.read_bytes()
    middle = len(whole) // 2
    bad = {
        "empty": b"",
        "cut": whole[:-1],
        "changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "garbage": b"\x80\x04garbage" * 100,
    }
    if damage == "renamed":
        assert speak(fresh(), by=3.0) > 0
        [other] = set(entries(folder)) - {entry}
        bad["renamed"] = other.read_bytes()
    entry.write_bytes(bad[damage])
    assert speak(fresh()) > 0
    assert speak(fresh()) == 0


@pytest.mark.parametrize("what", ["_environment", "processor", "variable", "setting"])
def test_whatever_differs_is_another_entry(folder, monkeypatch, what):
    processor = "another" if what == "processor" else "processor"
    other = Executables(folder, processor)
    if what == "_environment":  # sources, versions
        other.__dict__["_environment"] = "another"
    if what == "variable":
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    kept.keep(other)
    if what == "setting":
        with jax.default_matmul_precision("bfloat16"):
            assert speak(fresh()) > 0
    else:
        assert speak(fresh()) > 0
    assert len(entries(folder)) == 2


def test_a_change_of_the_code_is_another_environment(tmp_path, monkeypatch):
    (tmp_path / "code.py").write_text("1")
    monkeypatch.setattr(executables, "CODE", (tmp_path,))
    before = Executables(tmp_path, "processor")._environment
    assert Executables(tmp_path, "processor")._environment == before
    (tmp_path / "code.py").write_text("2")
    assert Executables(tmp_path, "processor")._environment != before


def test_what_others_can_write_is_not_loaded(folder, caplog):
    [entry] = entries(folder)
    entry.chmod(0o666)
    assert speak(fresh()) > 0
    assert "others can write" in caplog.text
    assert not entries(folder)[0].stat().st_mode & 0o022  # replaced
    assert speak(fresh()) == 0
    folder.chmod(0o777)
    kept.keep(Executables(folder, "processor"))
    assert speak(fresh()) > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_anothers_is_not_loaded(folder):
    [entry] = entries(folder)
    os.chown(entry, 12345, -1)
    assert speak(fresh()) > 0
    assert entries(folder)[0].stat().st_uid == 0


def test_a_folder_that_cannot_be_costs_nothing_else(tmp_path):
    (tmp_path / "file").write_text("no folder")
    kept.keep(Executables(tmp_path / "file" / "kept", "processor"))
    assert speak(fresh()) > 0


def test_where_nothing_can_be_kept_jax_sees_to_it(folder, monkeypatch):
    """An image that only has JAX's cache: compiling anew at each start would be the worse."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert speak(fresh(), by=3.0) > 0
    assert len(entries(folder)) == 1 and speak(fresh()) == 0


def test_they_are_bounded_and_what_was_killed_is_removed(folder, monkeypatch):
    [first] = entries(folder)
    abandoned, current = (folder / f".{name}{executables.SUFFIX}" for name in ("old", "new"))
    for part in (abandoned, current):
        part.write_bytes(b"half")
    for path in (first, abandoned):
        os.utime(path, (time.time() - 7200,) * 2)
    monkeypatch.setattr(executables, "MOST_BYTES", first.stat().st_size * 3 // 2)
    assert speak(fresh(), by=3.0) > 0
    assert not first.exists() and not abandoned.exists() and current.exists()
    assert speak(fresh(), by=3.0) == 0


def test_an_entry_that_is_used_stays(folder):
    [first] = entries(folder)
    os.utime(first, (0, 0))
    assert speak(fresh()) == 0
    assert first.stat().st_mtime > 0


def test_several_threads_at_once(tmp_path):
    kept.keep(Executables(tmp_path, "processor"))
    functions = [fresh() for _ in range(3)]
    failed = []

    def run(function):
        try:
            speak(function)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(entries(tmp_path)) == 1


def test_transformations_and_switches_pass_by(folder):
    function = fresh()
    weights, x = {"w": np.ones(3, np.float32)}, np.arange(3, dtype=np.float32)
    grown = jax.grad(lambda w: function(w, {"x": x}, 5.0)["x"].sum())(weights)
    assert np.array_equal(grown["w"], np.ones(3))
    with jax.disable_jit():
        assert np.array_equal(function(weights, {"x": x}, 5.0)["x"], np.arange(3) * 5 + 1)
    assert len(entries(folder)) == 1


@jax.tree_util.register_pytree_node_class
class Own:
    """As a stranger's cache, whose code may be changed without the keeper knowing."""

    def __init__(self, x):
        self.x = x

    def tree_flatten(self):
        return [self.x], None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)

    def __getitem__(self, name):
        return self.x


def test_what_runs_code_of_others_is_not_kept(folder):
    state = Own(jnp.arange(3.0))
    out = fresh()({"w": np.ones(3, np.float32)}, state, 2.0)["x"]
    assert np.array_equal(out, np.arange(3) * 2 + 1) and len(entries(folder)) == 1


HAD = """
import sys
from pathlib import Path
from ptts_jax.engine import startup
from ptts_jax.model import kept
from tests.engine.test_executables import entries, fresh, speak
startup.use_compilation_cache(sys.argv[1])
ours, folder = kept._keeper, Path(sys.argv[1]) / "executables"
kept.keep(None)
counts = [speak(fresh())]
kept.keep(ours)
counts += [speak(fresh()), speak(fresh())]
print(*counts, len(entries(folder)), len(list(folder.parent.glob("*scaled*-cache"))))
"""


def test_what_jax_had_in_its_own_cache_is_compiled_anew(tmp_path):
    """It would lack functions once it is written again."""
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    call = [sys.executable, "-c", HAD, str(tmp_path)]
    out = subprocess.run(call, env=environment, stdout=subprocess.PIPE, check=True).stdout
    # Compiled by JAX; read from its cache and compiled; nothing. No third copy is left.
    assert out.split() == [b"1", b"2", b"0", b"1", b"1"]


def test_what_does_not_compute_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(executables, "_loaded", lambda body: lambda *_: 1 / 0)
    kept.keep(Executables(tmp_path, "processor"))
    assert speak(fresh()) > 0
    assert entries(tmp_path) == []


SPEAKS = """
import sys
import numpy as np
from jax import monitoring
import ptts_jax
ptts_jax.use_compilation_cache(sys.argv[3])
tts = ptts_jax.load(sys.argv[1])
voice = tts.voice(np.sin(np.arange(24000, dtype=np.float32) / 50))
names = set()
def listen(event, seconds, fun_name="", **_):
    names.add(fun_name.removeprefix("jit(").rstrip(")"))
monitoring.register_event_duration_secs_listener(listen)
np.save(sys.argv[2], tts.generate("One sentence, and one more.", voice, seed=1))
print(*names)
"""


def test_a_second_process_neither_traces_nor_compiles_and_says_the_same(tmp_path):
    """The native calls are in the executables where there are any. Both first processes write."""
    files = tiny_files.write(tmp_path / "model")
    environment = os.environ | {"INT8_BACKEND": "auto", "PYTHONPATH": os.getcwd()}
    code = [sys.executable, "-c", SPEAKS, files.yaml]

    def begin(name: str) -> subprocess.Popen:
        call = [*code, tmp_path / name, tmp_path / "cache"]
        return subprocess.Popen(list(map(str, call)), env=environment, stdout=subprocess.PIPE)

    def worked_on(process: subprocess.Popen) -> set[str]:
        out = process.communicate(timeout=300)[0]
        assert process.returncode == 0
        return set(out.decode().split())

    one, other = [begin("a.npy"), begin("b.npy")]
    assert {"_first", "_decode"} <= worked_on(one) | worked_on(other)
    assert worked_on(begin("c.npy")) == set()
    first, *others = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert first.size and all(np.array_equal(first, other) for other in others)


KILLED = """
import os, signal, sys
from pathlib import Path
from ptts_jax.engine.executables import Executables
from ptts_jax.model import kept
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
kept.keep(Executables(Path(sys.argv[1]), "processor"))
import jax.numpy as jnp
kept.Function(lambda x: x + 1)(jnp.ones(3))
"""


def test_a_process_killed_while_it_writes_leaves_no_entry(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    call = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(call, env=environment).returncode == -9
    [part] = tmp_path.iterdir()
    assert part.name.startswith(".")
