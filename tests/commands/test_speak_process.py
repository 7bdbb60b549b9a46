"""The command as a process of its own: start-up, pipes, signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.speaking import LAST_LINE, wave

# As `python -m ptts_jax.speak`; counts what had to be compiled, and does not inherit the deafness
# to SIGINT of whatever runs in the background.
LAUNCH = """
import collections, json, os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from jax import monitoring
count = collections.Counter()
monitoring.register_event_listener(lambda event, **_: count.update([event.rpartition("/")[2]]))
try:
    runpy.run_module("ptts_jax.speak", run_name="__main__", alter_sys=True)
finally:
    if "COUNTS" in os.environ:
        json.dump(count, open(os.environ["COUNTS"], "w"))
    if "MODULES" in os.environ:
        json.dump([*sys.modules], open(os.environ["MODULES"], "w"))
"""


@pytest.fixture
def launch(place, environment, files, me):
    """Starts the command."""

    def started(*words: str, **options) -> subprocess.Popen:
        own = ["--model", str(files.yaml), "--voice", str(me)]
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *own, *words],
            env=os.environ | environment | options.pop("env", {}),
            stderr=subprocess.PIPE,
            **options,
        )

    return started


@pytest.fixture(scope="module")
def entries(folder):
    """The entries of the compilation cache, and their sizes."""

    def found() -> dict[Path, int]:
        return {p: p.stat().st_size for p in folder.glob("cache/compiled/*/*-cache")}

    return found


def test_the_second_run_compiles_nothing(launch, place, entries):
    """Nor says it anything it need not; also with a cache that was damaged in between."""

    def speak_once(name: str) -> dict[str, int]:
        counts = place / "counts.json"
        words = ["--quiet", "--seed=1", f"--output={name}.wav", "Hello there, you all."]
        process = launch(*words, stdout=subprocess.PIPE, env={"COUNTS": str(counts)})
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out, err) == (0, b"", b"")
        return json.loads(counts.read_text())

    def compiled(count: dict[str, int]) -> int:
        return count["compile_requests_use_cache"] - count.get("cache_hits", 0)

    assert compiled(speak_once("first")) > 10
    before = entries()
    second = speak_once("second")
    assert compiled(second) == 0 and second["cache_hits"] > 10
    assert entries() == before
    steps = [p for p in before if p.name.startswith("jit_some_frames-")]
    [kept] = (steps[0].parent / "executables").glob("*some_frames*")
    for file in (steps[0], kept):
        file.write_bytes(file.read_bytes()[:500])  # as a killed process leaves it
    assert compiled(speak_once("third")) == 1
    assert entries().keys() == before.keys() and entries()[steps[0]] > 500
    assert compiled(speak_once("fourth")) == 0
    want = Path("first.wav").read_bytes()
    assert all(Path(f"{n}.wav").read_bytes() == want for n in ("second", "third", "fourth"))


def test_what_is_compiled_and_ready_is_spoken_without_flax(launch):
    """Nor anything else that takes long to import and that only other work needs."""

    def imported(*words: str) -> set[str]:
        call = launch(
            "--quiet", "--output=a.wav", *words, "Hello.", env={"MODULES": "modules.json"}
        )
        assert (call.communicate(timeout=300)[1], call.returncode) == (b"", 0)
        return {name.partition(".")[0] for name in json.loads(Path("modules.json").read_text())}

    assert "flax" in imported("--export_voice=me.safetensors")  # to clone a voice
    assert not imported("--voice=me.safetensors") & {"flax", "optax", "huggingface_hub"}


def test_a_cache_that_cannot_be_kept(launch):
    """Speech comes out all the same; one line says why it took longer."""
    Path("file").write_text("")
    process = launch("Hi.", env={"PTTS_JAX_CACHE": "file/cache"}, stdout=subprocess.PIPE)
    err = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 0
    assert err.count("each start compiles anew: cannot write") == 1 and "Traceback" not in err
    assert "Warning" not in err
    wave("out.wav")


def test_through_pipes(launch, run):
    run("--seed=2", "--output=want.wav", "Text from a pipe.")
    process = launch("--seed=2", "--output=-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = process.communicate(b"Text from a pipe.", timeout=300)
    assert process.returncode == 0
    assert re.search(LAST_LINE.format("standard output"), err.decode())
    assert out[:4] == b"RIFF" and out[44:] == Path("want.wav").read_bytes()[44:]


def test_standard_output_by_its_path(launch, run):
    run("--seed=2", "--output=want.wav", "Text.")
    with open("file", "wb") as file:
        for target in (subprocess.PIPE, file):
            process = launch("--seed=2", "--output=/dev/stdout", "Text.", stdout=target)
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            out = Path("file").read_bytes() if out is None else out
            assert out[44:] == Path("want.wav").read_bytes()[44:]


def write_long_text() -> None:
    """100 kB in a file: speech that does not end by itself soon."""
    Path("long.txt").write_text("The quick brown fox jumps over the lazy dog. " * 2300)


def test_a_reader_that_leaves(launch):
    write_long_text()
    process = launch("--output=-", "--text_file=long.txt", stdout=subprocess.PIPE)
    assert len(process.stdout.read(50_000)) == 50_000
    process.stdout.close()
    err = process.stderr.read().decode()
    assert process.wait(300) == 0
    assert "error" not in err.lower() and "Traceback" not in err


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(closed, environment, files, me, place):
    """As daemons and cron start a command: it works, and nothing of it lands in its output."""
    words = f"--model={files.yaml} --voice={me} --seed=1 Hello."
    line = f'"{sys.executable}" -m ptts_jax.speak {words} {closed}'
    done = subprocess.run(["sh", "-c", line], env=os.environ | environment, timeout=300)
    assert done.returncode == 0
    wave("out.wav")
    assert [p.name for p in place.iterdir()] == ["out.wav"]


def test_messages_never_go_to_standard_output(environment, files, me):
    words = f"--model={files.yaml} --voice={me} --seed=1 --output=- Hello. 2>&-"
    line = f'"{sys.executable}" -m ptts_jax.speak {words}'
    done = subprocess.run(["sh", "-c", line], env=os.environ | environment, capture_output=True)
    assert done.returncode == 0 and done.stdout[:4] == b"RIFF"
    assert b"of audio in" not in done.stdout and b"converting" not in done.stdout


def test_a_list_that_nobody_reads(environment):
    """`--list_models | true`."""
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import sys; from ptts_jax import speak; sys.exit(speak.main(['speak', '--list_models']))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, stdout=writer, stderr=-1
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize(
    "name, signals",
    [
        ("out.wav", [signal.SIGINT]),
        ("out.flac", [signal.SIGTERM]),
        ("out.wav", [signal.SIGHUP]),
        ("out.wav", [signal.SIGINT, signal.SIGINT]),
    ],
    ids=["int", "term", "hup", "twice"],
)
def test_interrupted_while_speaking(name, signals, launch, place):
    """What was spoken until then is a complete file."""
    write_long_text()
    process = launch("--text_file=long.txt", f"--output={name}")
    hidden = f".out.*{Path(name).suffix}"
    deadline = time.monotonic() + 300
    while not any(p.stat().st_size > 100_000 for p in place.glob(hidden)):
        assert process.poll() is None and time.monotonic() < deadline
        assert not Path(name).exists()
        time.sleep(0.02)
    for kind in signals:
        process.send_signal(kind)
        time.sleep(0.01)
    err = process.communicate(timeout=60)[1].decode()
    # A second signal may find it past its last line of Python.
    status = 128 + signals[0]
    assert process.returncode == status or process.returncode == -kind and len(signals) > 1
    assert sorted(p.name for p in place.iterdir()) == ["long.txt", name]
    seconds = float(re.search(r"interrupted after (\S+) s of audio -> " + name, err)[1])
    assert wave(name).size / 24000 - 0.2 == pytest.approx(seconds, abs=0.006)
    assert seconds > 1 and "Traceback" not in err


FORGOTTEN = """
import sys, ptts_jax
ptts_jax.use_compilation_cache()
blocks = ptts_jax.load(sys.argv[1]).stream("Hello there. " * 5000, sys.argv[2])
print(next(blocks).size)
"""


def test_a_program_may_end_while_it_speaks(environment, files, me):
    """With the language model in the middle of a step."""
    process = subprocess.run(
        [sys.executable, "-c", FORGOTTEN, str(files.yaml), str(me)],
        env=os.environ | environment,
        capture_output=True,
        timeout=300,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, b"1920\n", b"")
