"""The C++ kernels by themselves, under sanitizers: addresses, undefined behaviour, threads."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from int8.runtime import library
from int8.runtime.build import SOURCES

TESTS = Path(__file__).parent
SANITIZERS = {
    "memory": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "threads": ["-fsanitize=thread"],
}
CASES = {"memory": 400, "threads": 100}
SLOW = {"fuzz_vocoder": 20}  # a case of it is that many of the others


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    compiler = shlex.split(os.environ.get("CXX", "")) or [shutil.which("c++") or "g++"]

    def build(source: str, sanitizer: str) -> Path:
        out = folder / f"{source}-{sanitizer}"
        if not out.exists():
            flags = ["-std=c++17", "-O1", "-pthread", "-ffp-contract=off", f"-I{SOURCES}"]
            line = [*compiler, *flags, *SANITIZERS[sanitizer], "-fno-omit-frame-pointer"]
            line += [str(TESTS / f"{source}.cc"), "-o", str(out)]
            done = subprocess.run(line, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        return out

    return build


@pytest.mark.parametrize("source", ["fuzz", "fuzz_float", "fuzz_vocoder"])
@pytest.mark.parametrize(
    ("sanitizer", "seed"), [("memory", 0), ("memory", 1), ("memory", 2), ("threads", 3)]
)
def test_fuzz_under_sanitizers(harness, source, sanitizer, seed):
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    cases = CASES[sanitizer] // SLOW.get(source, 1)
    line = [str(harness(source, sanitizer)), str(cases), str(seed)]
    done = subprocess.run(line, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    isas, summary = done.stdout.splitlines()
    assert summary == f"cases {cases} failures 0"
    want = {str(library.ISAS[i]) for i in library.supported_isas()}
    assert set(isas.split()[1:]) == want
