"""The command line with local files: what it says, what it leaves behind, and how it ends.

Mistakes are made in process; what needs a process of its own (signals, pipes, start-up) in one.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax import released, speak
from tests import tiny_files
from tests.fakehub import closed_url

LAST_LINE = (
    r"\d+\.\d\d s of audio in \d+\.\d\d s: \d+\.\dx real time, first audio after \d+ ms -> {}\n"
)
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
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("speak")


@pytest.fixture(scope="module")
def files(folder) -> tiny_files.Files:
    return tiny_files.write(folder / "model")


@pytest.fixture(scope="module")
def me(folder) -> Path:
    path = folder / "me.wav"
    soundfile.write(path, tiny_files.speech(1.3, rate=16000), 16000)
    return path


@pytest.fixture(scope="module")
def environment(folder) -> dict[str, str]:
    return {
        "PTTS_JAX_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": closed_url(),
        "PYTHONPATH": os.getcwd(),
    }


@pytest.fixture
def place(tmp_path, monkeypatch, environment) -> Path:
    """An empty working directory, and a process as it is before the command."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ptts_jax, "use_compilation_cache", lambda: None)  # is for the process
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    return tmp_path


@pytest.fixture
def run(place, files, me, capfd):
    """The command in this process: (code, standard output, standard error)."""

    def command(*words: str, model: bool = True) -> tuple[int, str, str]:
        own = ["--model", str(files.yaml), "--voice", str(me)] if model else []
        code = speak.main(["speak", *own, *map(str, words)])
        out, err = capfd.readouterr()
        return code, out, err

    return command


@pytest.fixture
def refuse(run, place):
    """One line on standard error, a failing code, and nothing left behind."""

    def refused(*words: str, **options: bool) -> str:
        before = sorted(place.rglob("*"))
        code, out, err = run(*words, **options)
        assert code == 1 and out == ""
        assert re.fullmatch(r"(converting the weights, .*\n)?error: .+\n", err), err
        assert sorted(place.rglob("*")) == before
        return err

    return refused


def piped(monkeypatch, payload: bytes) -> None:
    stream = SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(payload))
    monkeypatch.setattr(sys, "stdin", stream)


def wave(path: str | Path) -> np.ndarray:
    samples, rate = soundfile.read(path)
    assert rate == 24000 and samples.ndim == 1 and samples.std() > 0.005
    assert not samples[-4800:].any()  # the closing silence
    return samples


# What it says and writes.


def test_a_file(run, place):
    code, out, err = run("Hello", "there.", "--seed=3")
    assert code == 0 and out == ""
    assert re.fullmatch(LAST_LINE.format("out.wav"), err.splitlines(keepends=True)[-1])
    first = wave("out.wav")
    assert float(err.split(" s of audio")[0].split("\n")[-1]) == pytest.approx(
        first.size / 24000 - 0.2, abs=0.006
    )
    assert run("--seed=3", "--output", "b.flac", "--quiet", "Hello there.") == (0, "", "")
    np.testing.assert_array_equal(wave("b.flac"), first)
    run("--seed=4", "--output=c.ogg", "Hello there.")
    assert soundfile.info("c.ogg").frames not in (0, first.size)
    assert {p.name for p in place.iterdir()} == {"out.wav", "b.flac", "c.ogg"}


def test_the_text_from_everywhere(run, place, monkeypatch):
    Path("text.txt").write_bytes("\ufeffHello there.\r\n".encode())  # as some editors save it
    run("--seed=3", "Hello there.", "--output=want.wav")
    run("--seed=3", "--text_file=text.txt", "--output=file.wav")
    piped(monkeypatch, b"Hello there.\n")
    run("--seed=3", "--output=pipe.wav")
    piped(monkeypatch, b"Hello there.\n")
    run("--seed=3", "--output=dash.wav", "-")
    piped(monkeypatch, b"Hello there.\n")
    run("--seed=3", "--output=named.wav", "--text_file=-")
    for name in ("file", "pipe", "dash", "named"):
        np.testing.assert_array_equal(wave(f"{name}.wav"), wave("want.wav"))
    piped(monkeypatch, b"what is not read")
    run("--seed=3", "--output=words.wav", "Hello there.")
    np.testing.assert_array_equal(wave("words.wav"), wave("want.wav"))


def test_no_text_is_a_greeting(run, monkeypatch):
    heard = []
    stream = ptts_jax.TTS.stream

    def listen(self, text, *args, **options):
        heard.append(text)
        return stream(self, text, *args, **options)

    monkeypatch.setattr(ptts_jax.TTS, "stream", listen)
    assert run()[0] == 0
    monkeypatch.setattr(sys, "stdin", None)  # closed
    assert run()[0] == 0
    assert heard == [released.default_text(None)] * 2


@pytest.mark.parametrize(
    "words",
    [
        ("-5 degrees, they said.",),
        ("--", "-Hello", "--there"),
        ("- A list", "- of words"),
        ("--eos_threshold=-4", "x"),
        ("--eos_threshold", "-4", "x"),
        ("x", "--temperature", "0"),
        ("--seed=-1", "x"),
        ("--seed", str(10**30), "x"),
        ("--noise_clamp=1e-9", "x"),
        ("--frames_after_eos=0", "--steps=3", "--max_tokens=2", "one two three"),
        ("--noquiet", "--nolist_voices", "x"),
    ],
)
def test_words_and_flags_that_are_meant(words, run):
    code, _, err = run(*words)
    assert code == 0, err
    wave("out.wav")


def test_flags_reach_the_speech(run):
    for name, flags in {
        "plain": [],
        "hot": ["--temperature=1"],
        "clamped": ["--noise_clamp=0.1"],
        "stepped": ["--steps=2"],
        "late": ["--eos_threshold=1e9"],
        "tail": ["--frames_after_eos=30"],
        "short": ["--max_tokens=3"],
    }.items():
        run("--seed=1", f"--output={name}.wav", *flags, "Hello there, my friends.")
    made = {p.stem: wave(p) for p in Path().glob("*.wav")}
    assert len({x.tobytes() for x in made.values()}) == 7
    assert made["late"].size > made["plain"].size < made["tail"].size


def test_a_voice_is_exported(run, place):
    code, out, err = run("--export_voice=me.safetensors")  # reads no standard input
    assert (code, out) == (0, "") and err.endswith("voice -> me.safetensors\n")
    run("--seed=1", "Hello.")
    run("--seed=1", "--voice=me.safetensors", "--output=again.wav", "Hello.")
    np.testing.assert_array_equal(wave("again.wav"), wave("out.wav"))
    assert run("--quiet", "--export_voice=b.safetensors", "--output=both.wav", "Hi.")[2] == ""
    assert Path("b.safetensors").read_bytes() == Path("me.safetensors").read_bytes()
    wave("both.wav")
    assert {p.suffix for p in place.iterdir()} == {".wav", ".safetensors"}


def test_a_converted_file_needs_nothing_else(run, files, me, monkeypatch):
    from convert.__main__ import main as convert

    run("--seed=1", "Hello.")
    assert convert([str(files.yaml), "mine.safetensors"]) == 0
    monkeypatch.setattr(ptts_jax.hub, "fetch_first", None)  # nor the cache
    words = ("--model=mine.safetensors", f"--voice={me}", "--seed=1", "--output=b.wav", "Hello.")
    code, _, err = run(*words, model=False)
    assert code == 0, err
    np.testing.assert_array_equal(wave("b.wav"), wave("out.wav"))


def test_lists(run):
    code, out, err = run("--list_models", model=False)
    assert (code, err) == (0, "") and out.split() == [*released.names(), "bundled"]
    code, out, err = run("--list_voices", model=False)
    assert (code, err) == (0, "") and out.split() == list(released.VOICES)


def test_help(run):
    for words in (["--help"], ["Hello", "-h"], ["--nonsense", "--help"]):
        code, out, err = run(*words, model=False)
        assert (code, err) == (0, "")
        for name in ("model", "voice", "output", "export_voice", "max_tokens", "int8"):
            assert f"--{name} " in out
        assert "python -m ptts_jax.speak" in out and "/speak.py" not in out
        assert all(len(line) <= 110 for line in out.splitlines())


def test_progress_only_on_a_terminal(run, monkeypatch):
    assert "spoken" not in run("Hello.")[2]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    live = run("Hello.")[2]
    assert "s spoken" in live
    assert re.fullmatch(LAST_LINE.format("out.wav"), live.rpartition("\033[K")[2])
    assert run("--quiet", "Hello.")[2] == ""


def test_a_long_text_is_warned_of_once(run, caplog):
    unbroken = "fox jumps over lazy " * 20
    run(unbroken)
    assert [("words may be skipped" in m) for m in caplog.messages] == [True]
    run("--quiet", unbroken)
    assert len(caplog.messages) == 1


# Mistakes.


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--lst_models"], "unknown flag --lst_models; did you mean list_models"),
        (["-Hello"], "a text that begins with a dash goes behind --"),
        (["Hello", "--temprature=3"], "unknown flag --temprature; did you mean temperature"),
        (["Hello", "--output"], "Missing value for flag --output"),
        (["--seed=abc", "x"], "--seed=abc"),
        (["--seed=1.5", "x"], "--seed=1.5"),
        (["--temperature=warm", "x"], "--temperature=warm"),
        (["--temperature=nan", "x"], "temperature nan: give a number"),
        (["--temperature", "-1", "x"], "temperature -1.0: give a number"),
        (["--steps=0", "x"], "steps 0: give a whole number"),
        (["--noise_clamp=0", "x"], "noise_clamp 0.0: give a number"),
        (["--eos_threshold=nan", "x"], "eos_threshold nan: give a number"),
        (["--frames_after_eos=99999999999", "x"], "frames_after_eos 99999999999: give"),
        (["--max_tokens=0", "x"], "max_tokens 0: give a whole number from 1 to 500"),
        (["--quiet=perhaps", "x"], "--quiet=perhaps"),
        (["--int8=atention", "x"], "did you mean attention"),
        (["--flagfile=none", "x"], "none"),
        ([""], "the text is empty"),
        (["  "], "the text is empty"),
        (["...", "?!"], "no letter or digit: there is nothing to say"),
        (["🙂🎉"], "no letter or digit: there is nothing to say"),
        (["--text_file=none.txt"], "--text_file none.txt: No such file"),
        (["--text_file=."], "--text_file .: Is a directory"),
        (["--text_file=none.txt", "x"], "a text is given besides"),
        (["--output=.", "x"], "cannot write .: it is a folder"),
        (["--output=none/out.wav", "x"], "there is no folder .*none"),
        (["--output=out.txt", "x"], "unknown kind of file '.txt'; name it .wav, .flac, .ogg"),
        (["--output=out", "x"], "unknown kind of file"),
        (["--output=", "x"], "cannot write"),
        (["--export_voice=me.wav"], "--export_voice me.wav: name a .safetensors file"),
        (["--export_voice=none/me.safetensors"], "name a file in a folder that exists"),
        (["--export_voice=", "x"], "name a .safetensors file"),
        (["--model=none.yaml", "x"], "cannot fetch none.yaml: no such file"),
        (["--model=.", "x"], "'.' is not a model"),
        (["--model=", "x"], "'' is not a model"),
        (["--model=Englisch", "x"], "unknown model 'Englisch'; did you mean english"),
        (["--model=ftp://host/model.yaml", "x"], "use a path, https://"),
        (["--model=http://host/model.yaml", "x"], "use https://"),
        (["--voice=", "x"], "the voice has no name"),
        (["--voice=none.wav", "x"], "cannot fetch none.wav: no such file"),
        (["--voice=.", "x"], "cannot fetch .: it is a folder"),
        (["--voice=alba", "x"], "'alba' belongs to the released models"),
        (["--voice=hf://kyutai", "x"], "hf://owner/repo/path@revision"),
    ],
)
def test_mistakes_in_words(words, problem, refuse):
    assert re.search(problem, refuse(*words))


def test_mistakes_in_files(refuse, place, files, folder, me):
    sound = tiny_files.speech(1.0)
    soundfile.write("short.wav", sound[:240], 24000)
    soundfile.write("empty.wav", sound[:0], 24000)
    soundfile.write("nan.wav", sound * np.nan, 24000, subtype="FLOAT")
    Path("text.wav").write_text("not audio")
    Path("latin.txt").write_bytes(b"\xe9t\xe9 1")
    Path("blank.txt").write_text(" \n")
    Path("typo.yaml").write_text(files.yaml.read_text().replace("num_heads", "num_head"))
    Path("broken.yaml").write_text("a: [1\nb: {")
    Path("cut.safetensors").write_bytes(files.weights.read_bytes()[:-3])
    wide = files.yaml.read_text().replace("dim: 16", "dim: 24", 1)
    Path("wide.yaml").write_text(wide)
    for name in ("cut", "none"):
        text = files.yaml.read_text().replace(str(files.weights), str(place / name))
        Path(f"{name}.yaml").write_text(text.replace(name, f"{name}.safetensors"))
    for words, problem in {
        ("--voice=short.wav", "x"): "short.wav has only 0.01 s of sound",
        ("--voice=empty.wav", "x"): "empty.wav: it holds no audio",
        ("--voice=nan.wav", "x"): "nan.wav: it holds NaN",
        ("--voice=text.wav", "x"): "text.wav: not readable as audio",
        (f"--voice={files.weights}", "x"): "not a voice for this model",
        ("--voice=cut.safetensors", "x"): "cut.safetensors: the file is cut short",
        ("--text_file=latin.txt",): "latin.txt: not UTF-8 text",
        ("--text_file=blank.txt",): "blank.txt is empty",
        ("--model=typo.yaml", "x"): "typo.yaml: .*num_head: unknown field; did you mean num_heads",
        ("--model=broken.yaml", "x"): "broken.yaml: not valid YAML",
        ("--model=wide.yaml", "x"): "do not fit the model's config",
        ("--model=cut.yaml", "x"): "cut.safetensors: the file is cut short",
        ("--model=none.yaml", "x"): "none.safetensors: no such file",
        (f"--model={files.weights}", "x"): "not a converted model",
        (f"--output={me}", "x"): "would overwrite what is read",
        ("--voice=short.wav", "--output=./short.wav", "x"): "would overwrite what is read",
    }.items():
        assert re.search(problem, refuse(*words)), words
    assert soundfile.info(me).frames == 1.3 * 16000


def test_mistakes_on_standard_input(refuse, monkeypatch):
    for payload, problem in {b"": "empty", b" \n": "empty", b"\xff\xfe": "not UTF-8"}.items():
        piped(monkeypatch, payload)
        assert f"standard input{' is' if problem == 'empty' else ':'} {problem}" in refuse("-")


def test_interrupted_before_it_spoke(run, place, monkeypatch):
    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ptts_jax.TTS, "stream", press)
    assert run("--quiet", "Hello.") == (130, "", "")
    assert run("Hello.") == (130, "", "interrupted\n")
    monkeypatch.setattr(ptts_jax, "load", press)
    assert run("Hello.") == (130, "", "interrupted\n")
    assert not list(place.iterdir())


def test_a_failure_while_speaking_leaves_nothing(run, place, monkeypatch):
    def stream(*_, **__):
        yield np.zeros(1920, np.float32)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ptts_jax.TTS, "stream", stream)
    code, out, err = run("Hello.")
    assert code == 1 and re.fullmatch("error: .*No space left on device.*\n", err)
    assert not list(place.iterdir())


# In a process of its own.


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
    steps = [p for p in before if p.name.startswith("jit__several-")]
    steps[0].write_bytes(steps[0].read_bytes()[:500])  # as a killed process leaves it
    assert compiled(speak_once("third")) == 1
    assert entries().keys() == before.keys() and entries()[steps[0]] > 500
    assert compiled(speak_once("fourth")) == 0
    want = Path("first.wav").read_bytes()
    assert all(Path(f"{n}.wav").read_bytes() == want for n in ("second", "third", "fourth"))


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
        ("out.wav", [signal.SIGINT, signal.SIGINT]),
    ],
    ids=["int", "term", "twice"],
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
    assert process.returncode == 130 or process.returncode == -kind and len(signals) > 1
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
