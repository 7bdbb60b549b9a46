"""Compiles the native kernels with the system's C++ compiler, once, into the user's cache.

Knows nothing of jax beyond where its headers lie, and decides nothing: every failure is a
BuildError of one line, and the caller (dot.py) falls back. A cached library carries the digest of
its bytes in its name, so that a damaged one is never loaded and concurrent builders need no lock:
each renames a finished file into place.
"""

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib

SOURCES = Path(__file__).parent / "native"
OPTIMISE = ["-O2", "-ftree-vectorize"]  # GCC's -O2 alone holds the vectoriser back
EXACT = ["-ffp-contract=off"]  # all instruction sets round alike
FLAGS = ["-std=c++17", *OPTIMISE, *EXACT, "-fPIC", "-shared", "-pthread", "-fvisibility=hidden"]
TIMEOUT = 300  # seconds; some 20 are normal, more on a busy machine


class BuildError(ValueError):
    """Why there are no native kernels, in one line."""


def cache_dir() -> Path:
    """Where built libraries live; need not exist."""
    if own := os.environ.get("PTTS_JAX_CACHE"):
        return Path(own) / "int8"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ptts_jax" / "int8"


def _compiler() -> list[str] | None:
    """The command to compile with, or None. $CXX, when set, is the only candidate."""
    own = shlex.split(os.environ.get("CXX", ""))
    for command in [own] if own else (["c++"], ["g++"], ["clang++"]):
        if path := shutil.which(command[0]):
            return [path, *command[1:]]
    return None


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _key() -> str:
    """Of all that a library depends on but the compiler."""
    files = sorted(p for p in SOURCES.iterdir() if p.suffix in (".h", ".inc", ".cc"))
    sources = [p.read_bytes() for p in files]
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    about = [jaxlib.__version__, platform.system(), platform.machine(), libc or "", *FLAGS]
    return _digest(*sources, *(s.encode() for s in about))


def _compiler_key(command: list[str]) -> str:
    """Changes with an upgrade of the compiler, without the cost of running it."""
    path = os.path.realpath(command[0])
    stat = os.stat(path)
    return _digest(*(str(s).encode() for s in (path, stat.st_size, stat.st_mtime_ns, command[1:])))


def _intact(path: Path) -> bool:
    try:
        return _digest(path.read_bytes()) == path.stem.rsplit("-", 1)[-1]
    except OSError:
        return False


def _cached(pattern: str) -> Path | None:
    return next((p for p in sorted(cache_dir().glob(pattern)) if _intact(p)), None)


def _compile(command: list[str], out: Path) -> None:
    include = ["-I", str(SOURCES), "-isystem", jax.ffi.include_dir()]
    line = [*command, *FLAGS, *include, str(SOURCES / "ffi.cc"), "-o", str(out)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise BuildError(f"{command[0]} could not be run: {e}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        first = next((s for s in lines if "error" in s), lines[0] if lines else "no message")
        raise BuildError(f"{command[0]} failed ({first.strip()})")


def _writable_dir() -> Path:
    """The cache; if it cannot be written, a private directory that lasts as long as the process."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache_dir()).close()
        return cache_dir()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="int8-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder


def _build(verbose: bool) -> Path:
    command, key = _compiler(), _key()
    if command is None:
        if found := _cached(f"int8-{key}-*.so"):  # built ahead, on an image that shed its compiler
            return found
        own = os.environ.get("CXX")
        missing = f"CXX={own} is not a program" if own else "no C++ compiler (c++, g++, clang++)"
        raise BuildError(missing)
    name = f"int8-{key}-{_compiler_key(command)}"
    if found := _cached(f"{name}-*.so"):
        if verbose:
            print(f"native kernels are already built: {found}")
        return found
    folder = _writable_dir()
    if verbose:
        print(f"building native kernels with {shlex.join(command)} into {folder}")
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
