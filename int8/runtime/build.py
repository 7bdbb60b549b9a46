"""Compiles the native kernels with the system's C++ compiler, once, into the user's cache.

Knows nothing of jax beyond where its headers lie, and decides nothing: every failure is a
BuildError of one line, and the caller falls back. A library carries the digest of its bytes in its
name, so that a damaged one is never loaded and concurrent builders need no lock: each renames a
finished file into place. What others could have written is never loaded either.
"""

import atexit
import contextlib
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxlib

from int8.runtime import paths

SOURCES = Path(__file__).parents[1] / "native"
OPTIMISE = ["-O2", "-ftree-vectorize"]  # GCC's -O2 alone holds the vectoriser back
EXACT = ["-ffp-contract=off"]  # all instruction sets round alike
FLAGS = ["-std=c++17", *OPTIMISE, *EXACT, "-fPIC", "-shared", "-pthread", "-fvisibility=hidden"]
FOREIGN = ("cl", "clang-cl", "icl", "nvcc")  # compilers that take other flags
TIMEOUT = 900  # seconds; some 20 are normal, far more on a busy machine

_log = logging.getLogger("int8")


class BuildError(ValueError):
    """Why there are no native kernels, in one line."""


def cache_dir() -> Path:
    """Where built libraries live; need not exist."""
    return paths.cache_dir() / "int8"


def _compiler() -> list[str]:
    """The command to compile with. $CXX, when set, is the only candidate."""
    chosen = os.environ.get("CXX", "")
    for command in [shlex.split(chosen)] if chosen else (["c++"], ["g++"], ["clang++"]):
        if path := shutil.which(command[0]):
            if Path(path).stem.lower() in FOREIGN:
                raise BuildError(f"{path} is neither GCC nor Clang; name one of them in CXX")
            return [path, *command[1:]]
    if chosen:
        raise BuildError(f"CXX={chosen} is not a program")
    raise BuildError("no C++ compiler (c++, g++, clang++)")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _key() -> str:
    """Of all that a library depends on but the compiler."""
    files = sorted(p for p in SOURCES.rglob("*") if p.suffix in (".h", ".inc", ".cc"))
    sources = [p.read_bytes() for p in files]
    name = "CS_GNU_LIBC_VERSION"
    libc = os.confstr(name) if name in getattr(os, "confstr_names", ()) else ""
    about = [jaxlib.__version__, platform.system(), platform.machine(), libc or "", *FLAGS]
    return _digest(*sources, *(s.encode() for s in about))


def _compiler_key(command: list[str]) -> str:
    """Changes with an upgrade of the compiler, without the cost of running it."""
    path = os.path.realpath(command[0])
    about = os.stat(path)
    parts = path, about.st_size, about.st_mtime_ns, command[1:]
    return _digest(*(str(part).encode() for part in parts))


def written_by_us(about: os.stat_result) -> bool:
    """Whether nobody but this user and the administrator can have written it."""
    if not hasattr(os, "geteuid"):
        return True  # Windows keeps the folders of users apart
    return about.st_uid in (0, os.geteuid()) and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[str]:
    """A name under which exactly the bytes that were checked can be loaded. Raises BuildError."""
    with path.open("rb") as file:
        if not written_by_us(os.fstat(file.fileno())):
            raise BuildError(f"{path} may have been written by others; delete it")
        if _digest(file.read()) != path.stem.rsplit("-", 1)[-1]:
            raise BuildError(f"{path} is damaged; delete it")
        same = f"/proc/self/fd/{file.fileno()}"
        yield same if os.path.exists(same) else str(path)


def _intact(path: Path) -> bool:
    try:
        with opened(path):
            return True
    except (OSError, BuildError):
        return False


def _cached(pattern: str) -> Path | None:
    return next((p for p in sorted(cache_dir().glob(pattern)) if _intact(p)), None)


def _end(process: subprocess.Popen) -> None:
    """Ends the compiler with all that it has started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _compile(command: list[str], out: Path) -> None:
    include = ["-I", str(SOURCES), "-isystem", jax.ffi.include_dir()]
    line = [*command, *FLAGS, *include, str(SOURCES / "ffi.cc"), "-o", str(out)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = None
    try:
        process = subprocess.Popen(line, **pipes, text=True, start_new_session=True)
        atexit.register(_end, process)  # the interpreter may go while a thread waits here
        message = process.communicate(timeout=TIMEOUT)[1]
    except OSError as e:
        raise BuildError(f"{command[0]} could not be run: {e}") from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took more than {TIMEOUT} seconds") from None
    finally:
        atexit.unregister(_end)
        if process and process.poll() is None:  # interrupted, or too slow
            _end(process)
    if process.returncode:
        lines = message.strip().splitlines()
        first = next((s for s in lines if "error" in s), lines[0] if lines else "no message")
        raise BuildError(f"{command[0]} failed ({first.strip()})")


def _writable_dir() -> Path:
    """The cache; if it cannot be written, or others can write it, a private directory that lasts as
    long as the process."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # read by all, as an image's may have to be; written by nobody else
        if written_by_us(folder.stat()):
            tempfile.TemporaryFile(dir=folder).close()
            _sweep(folder)
            return folder
    except OSError:
        pass
    folder = Path(tempfile.mkdtemp(prefix="int8-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sweep(folder: Path) -> None:
    """Removes what processes left that were killed while they compiled."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()


def _build(verbose: bool) -> Path:
    key = _key()
    try:
        command = _compiler()
    except BuildError:
        if path := _cached(f"int8-{key}-*.so"):  # built ahead, on an image that shed its compiler
            return path
        raise
    name = f"int8-{key}-{_compiler_key(command)}"
    if path := _cached(f"{name}-*.so"):
        if verbose:
            print(f"native kernels are already built: {path}")
        return path
    folder = _writable_dir()
    if verbose:
        print(f"building native kernels with {shlex.join(command)} into {folder}")
    else:
        _log.warning("compiling the kernels, once for this machine (about 20 s) ...")
    handle, part = tempfile.mkstemp(suffix=".part", dir=folder)
    os.close(handle)
    try:
        _compile(command, Path(part))
        os.chmod(part, 0o755)
        final = folder / f"{name}-{_digest(Path(part).read_bytes())}.so"
        os.replace(part, final)
    finally:
        Path(part).unlink(missing_ok=True)
    return final


def build(verbose: bool = False) -> Path:
    """The library for this machine: from the cache, or compiled now. Raises BuildError."""
    try:
        return _build(verbose)
    except OSError as e:
        raise BuildError(f"{e.strerror or e}: {e.filename or cache_dir()}") from None
