"""The kernels with another compiler, and for another processor under an emulator.

Needs clang++, aarch64-linux-gnu-g++ and qemu-aarch64; fails where they are missing.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

from int8.runtime import library
from int8.runtime.build import EXACT, FLAGS, SOURCES

TESTS = Path(__file__).parent
CASES = "150"


def _tool(name: str) -> str:
    path = shutil.which(name)
    assert path, f"{name} is missing; install it (clang, g++-aarch64-linux-gnu, qemu-user)"
    return path


def _compile(line: list[str]) -> None:
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def _fuzz(line: list[str], isas: set[int]) -> None:
    done = subprocess.run([*line, CASES, "5"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    tried, summary = done.stdout.splitlines()
    assert summary == f"cases {CASES} failures 0"
    assert set(map(int, tried.split()[1:])) == isas


@pytest.mark.parametrize("source", ["fuzz", "fuzz_float", "fuzz_vocoder"])
def test_neon_under_an_emulator(source, tmp_path):
    compiler, emulator = _tool("aarch64-linux-gnu-g++"), _tool("qemu-aarch64")
    out = str(tmp_path / source)
    flags = ["-std=c++17", "-O2", *EXACT, "-static", "-pthread", f"-I{SOURCES}"]
    _compile([compiler, *flags, str(TESTS / f"{source}.cc"), "-o", out])
    _fuzz([emulator, "-cpu", "max", out], {library.ISAS["portable"], library.ISAS["neon"]})


@pytest.mark.parametrize("source", ["fuzz", "fuzz_float", "fuzz_vocoder"])
def test_clang_gives_the_same_numbers(source, tmp_path):
    out = str(tmp_path / source)
    flags = ["-std=c++17", "-O2", *EXACT, "-pthread", f"-I{SOURCES}"]
    _compile([_tool("clang++"), *flags, str(TESTS / f"{source}.cc"), "-o", out])
    _fuzz([out], {library.ISAS[name] for name in library.supported_isas()})


def test_clang_builds_the_library(tmp_path):
    out = tmp_path / "kernels.so"
    include = ["-I", str(SOURCES), "-isystem", jax.ffi.include_dir()]
    _compile([_tool("clang++"), *FLAGS, *include, str(SOURCES / "ffi.cc"), "-o", str(out)])
    kernels = ctypes.CDLL(str(out))
    assert all(getattr(kernels, target) for target in library.TARGETS)
