"""The C++ kernels by themselves, under the address and undefined-behaviour sanitizers."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from int8 import native_dot
from int8.build import SOURCES

TESTS = Path(__file__).parent
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


@pytest.fixture(scope="module")
def harness(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("fuzz") / "int8_fuzz"
    compiler = shlex.split(os.environ.get("CXX", "")) or [shutil.which("c++") or "g++"]
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", f"-I{SOURCES}", *SANITIZE]
    line = [*compiler, *flags, str(TESTS / "int8_fuzz.cc"), "-o", str(out)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("seed", range(4))
def test_fuzz_under_sanitizers(harness, seed):
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    line = [str(harness), "400", str(seed)]
    done = subprocess.run(line, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    isas, summary = done.stdout.splitlines()
    assert summary == "cases 400 failures 0"
    want = {str(native_dot.ISAS[i]) for i in native_dot.supported_isas()}
    assert set(isas.split()[1:]) == want
