"""Building the native kernels: the cache, and every way in which it can go wrong."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from int8.runtime import build
from int8.runtime.build import BuildError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "int8"


def _compiler(tmp_path, monkeypatch, body='echo "kernels $$" > "$out"'):
    """A stand-in for $CXX: counts its runs, then does as told with $out."""
    script = tmp_path / "cxx"
    script.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\nfor out; do :; done\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(script))
    return lambda: len((tmp_path / "runs").read_text().split())


def test_cache_dir_follows_the_environment(monkeypatch):
    for name in ("PTTS_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert build.cache_dir() == Path.home() / ".cache" / "ptts_jax" / "int8"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert build.cache_dir() == Path("/xdg/ptts_jax/int8")
    monkeypatch.setenv("PTTS_JAX_CACHE", "/own")
    assert build.cache_dir() == Path("/own/int8")
    monkeypatch.setenv("PTTS_JAX_CACHE", "~/own")
    assert build.cache_dir() == Path.home() / "own" / "int8"


def test_builds_once_and_then_uses_the_cache(cache, tmp_path, monkeypatch, capsys):
    runs = _compiler(tmp_path, monkeypatch)
    first = build.build(verbose=True)
    assert first.parent == cache
    assert build.build(verbose=True) == first
    assert runs() == 1
    said = capsys.readouterr().out.splitlines()
    assert "building" in said[0]
    assert "already built" in said[1]
    assert [p.name for p in cache.iterdir()] == [first.name]


def test_a_changed_source_flag_or_compiler_builds_anew(cache, tmp_path, monkeypatch):
    _compiler(tmp_path, monkeypatch)
    first = build.build()
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-DOTHER"])
    second = build.build()
    _compiler(tmp_path, monkeypatch, 'echo "another compiler" > "$out"')
    assert len({first, second, build.build()}) == 3


def test_a_damaged_library_is_built_again(cache, tmp_path, monkeypatch):
    runs = _compiler(tmp_path, monkeypatch)
    path = build.build()
    path.write_bytes(path.read_bytes()[:3])
    again = build.build()
    assert runs() == 2
    assert again.read_bytes().startswith(b"kernels")


def test_a_library_built_ahead_serves_without_a_compiler(cache, tmp_path, monkeypatch):
    _compiler(tmp_path, monkeypatch)
    path = build.build()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert build.build() == path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('echo "x.cc:1: error: no such header" >&2; exit 1', "no such header"),
        ("exit 3", "failed (no message)"),
        ("exit 0", "No such file|failed"),
    ],
)
def test_a_broken_compiler_is_one_line(cache, tmp_path, monkeypatch, body, message):
    _compiler(tmp_path, monkeypatch, body.replace("exit 0", 'rm "$out"'))
    with pytest.raises(BuildError) as e:
        build.build()
    assert any(m in str(e.value) for m in message.split("|"))
    assert "\n" not in str(e.value)
    assert not list(cache.iterdir())


def test_an_absent_compiler_is_one_line(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler -O3")
    with pytest.raises(BuildError, match="CXX=/no/such/compiler -O3 is not a program"):
        build.build()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        build.build()


def test_a_compiler_that_cannot_be_run_is_one_line(cache, tmp_path, monkeypatch):
    script = tmp_path / "cxx"
    script.write_bytes(b"\x7fELF not really")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    with pytest.raises(BuildError, match="could not be run"):
        build.build()


def test_a_cache_that_cannot_be_written_gives_way_to_a_private_directory(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "file"))
    _compiler(tmp_path, monkeypatch)
    path = build.build()
    assert path.read_bytes().startswith(b"kernels")
    assert path.parent.stat().st_mode & 0o077 == 0


def test_many_builders_at_once(cache, tmp_path, monkeypatch):
    _compiler(tmp_path, monkeypatch, 'sleep 0.1; echo "kernels $$" > "$out"')
    found = []
    threads = [threading.Thread(target=lambda: found.append(build.build())) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 5
    assert all(p.read_bytes().startswith(b"kernels") for p in found)
    assert not list(cache.glob("*.part"))


def test_what_others_may_have_written_is_not_loaded(cache, tmp_path, monkeypatch):
    runs = _compiler(tmp_path, monkeypatch)
    path = build.build()
    assert cache.stat().st_mode & 0o022 == 0
    path.chmod(0o777)
    with pytest.raises(BuildError, match="may have been written by others"), build.opened(path):
        pass
    again = build.build()
    assert runs() == 2
    assert again.stat().st_mode & 0o022 == 0


def test_what_is_loaded_is_what_was_checked(cache, tmp_path, monkeypatch):
    """A file that takes the library's place after the check is not what is read."""
    _compiler(tmp_path, monkeypatch)
    path = build.build()
    before = path.read_bytes()
    with build.opened(path) as name:
        path.with_suffix(".new").write_bytes(b"another")
        path.with_suffix(".new").replace(path)
        assert Path(name).read_bytes() == before


def test_an_open_folder_is_closed_to_others(cache, tmp_path, monkeypatch):
    _compiler(tmp_path, monkeypatch)
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert build.build().parent == cache
    assert cache.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("name", ["cl.exe", "nvcc"])
def test_a_compiler_of_another_kind_is_one_line(cache, tmp_path, monkeypatch, name):
    runs = _compiler(tmp_path, monkeypatch)
    (tmp_path / "cxx").rename(tmp_path / name)
    monkeypatch.setenv("CXX", str(tmp_path / name))
    with pytest.raises(BuildError, match="neither GCC nor Clang"):
        build.build()
    with pytest.raises(FileNotFoundError):
        runs()


def test_a_system_without_unix_calls_builds(cache, tmp_path, monkeypatch):
    _compiler(tmp_path, monkeypatch)
    for name in ("confstr_names", "confstr", "geteuid", "killpg"):
        monkeypatch.delattr(os, name)
    assert build.build().exists()


def _state(pid: int) -> str:
    """R: it runs, S: it waits, Z: it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _until(condition) -> bool:
    for _ in range(300):
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_an_interrupted_build_leaves_no_compiler(cache, tmp_path, monkeypatch):
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    # What the compiler starts outlives it, unless the whole group ends.
    _compiler(tmp_path, monkeypatch, f"sleep 600 & echo $! > {fifo}; wait")
    program = "from int8.runtime.build import build; build()"
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=env, stderr=subprocess.DEVNULL)
    child = int(fifo.read_text())
    assert _until(lambda: _state(process.pid) == "S")
    process.send_signal(signal.SIGINT)
    process.wait()
    assert _until(lambda: _state(child) == "Z")
    assert not list(cache.glob("*.part"))


COMPILING = "compiling the kernels, once for this machine (about 20 s) ..."
PROGRAM = """
import jax.numpy as jnp, int8
w = int8.quantize(jnp.eye(64))
for _ in range(2):
    y = int8.dot(jnp.ones((3, 64)), w)
print(int8.resolve_backend(), float(abs(y - 1).max()) < 1e-6)
"""


def _run(env, program=PROGRAM):
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **env}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)


@pytest.mark.parametrize("failure", ["absent", "broken", "unloadable"])
def test_products_go_on_without_native_kernels(failure, tmp_path, monkeypatch):
    if failure == "absent":
        monkeypatch.setenv("CXX", "/no/such/compiler")
    else:
        body = "exit 1" if failure == "broken" else 'echo garbage > "$out"'
        _compiler(tmp_path, monkeypatch, body)
    done = _run({"PTTS_JAX_CACHE": str(tmp_path / "cache"), "INT8_BACKEND": "auto"})
    assert done.stdout.split() == ["xla", "True"], done.stderr
    *before, last = done.stderr.splitlines()
    assert before == ([] if failure == "absent" else [COMPILING])
    assert last.startswith("int8: XLA computes, slower than the native kernels would: ")


FLOATS = """
import logging, jax, jax.numpy as jnp, int8
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.caches.protocol import Shape
logging.basicConfig(level=logging.INFO)
w = jnp.eye(512)
y = jax.jit(int8.dot)(jnp.ones((1, 512)), w)
cache = FullCache.init(Shape(layers=1, heads=2, width=16, batch=1, slots=8))
q, p = jnp.ones((1, 1, 2, 16)), jnp.zeros((1, 1), jnp.int32)
out, _ = jax.jit(lambda c: c.open(p).attend(0, q, q, q, p))(cache)
print(float(abs(y - 1).max()) < 1e-6, float(abs(out - 1).max()) < 1e-6)
"""


@pytest.mark.parametrize("compiler", ["/no/such/compiler", None])
def test_who_never_asked_for_int8_hears_once_what_it_costs(compiler, tmp_path):
    env = {"PTTS_JAX_CACHE": str(tmp_path), "INT8_BACKEND": "auto"}
    done = _run({**env, "CXX": compiler} if compiler else env, FLOATS)
    assert done.stdout.split() == ["True", "True"], done.stderr
    (line,) = done.stderr.splitlines()
    assert ("slower than the native kernels" in line) if compiler else (COMPILING in line)


def test_the_package_can_be_told_to_be_quiet(tmp_path):
    quiet = "import logging; logging.getLogger('int8').setLevel(logging.ERROR)\n"
    env = {"PTTS_JAX_CACHE": str(tmp_path), "INT8_BACKEND": "auto", "CXX": "/no/such/compiler"}
    done = _run(env, quiet + PROGRAM)
    assert done.stdout.split() == ["xla", "True"]
    assert not done.stderr


THREADS = """
import threading, jax, jax.numpy as jnp, numpy as np, int8
x, w = jnp.ones((32, 1024)), int8.quantize(jnp.ones((1024, 1024)))
f = jax.jit(int8.dot)
g = lambda: [np.asarray(f(x, w)) for _ in range(20)]
both = [threading.Thread(target=g) for _ in range(2)]
for t in both: t.start()
for t in both: t.join()
print(int8.resolve_backend(), float(abs(g()[0] - 1024).max()) < 1e-2)
"""


@pytest.mark.parametrize("env", [{"PJRT_NPROC": "1"}, {"INT8_THREADS": "1"}, {"INT8_THREADS": "9"}])
def test_any_number_of_threads_will_do(env):
    done = _run({"INT8_BACKEND": "native", **env}, THREADS)
    assert done.stdout.split() == ["native", "True"], done.stderr


def test_a_wrong_number_of_threads_is_one_line():
    for wrong in ("0", "-1", "two", ""):
        done = _run({"INT8_THREADS": wrong}, THREADS)
        assert done.returncode != 0
        last = done.stderr.splitlines()[-1]
        assert last == f"ValueError: INT8_THREADS={wrong} must be a number of threads, at least 1"


def test_forcing_native_where_it_cannot_be_is_an_error(tmp_path):
    program = "import int8\nint8.set_backend('native')\n" + PROGRAM
    env = {"PTTS_JAX_CACHE": str(tmp_path), "CXX": "/no/such/compiler"}
    for case in (_run(env, program), _run({**env, "INT8_BACKEND": "native"})):
        assert case.returncode != 0
        assert case.stderr.splitlines()[-1].endswith("CXX=/no/such/compiler is not a program")


def test_the_real_kernels_build_and_load_in_a_fresh_cache(tmp_path):
    """One that cannot be written, so that the way through a private directory is taken whole."""
    (tmp_path / "file").write_text("in the way")
    done = _run({"PTTS_JAX_CACHE": str(tmp_path / "file"), "INT8_BACKEND": "native"})
    assert done.stdout.split() == ["native", "True"], done.stderr
    assert done.stderr.splitlines() == [COMPILING]
