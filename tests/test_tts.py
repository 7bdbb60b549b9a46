"""The facade, with a tiny model from files: what goes in, what comes out, and how it ends."""

import dataclasses
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ptts_jax
from ptts_jax import drivers, generate, stream, text
from ptts_jax.voices import Voice
from tests import tiny_files
from tests.compilations import compilations

LONG = (
    "The river was wide, and nobody knew how deep it ran in spring. Three boats came down that "
    "morning! Was it 3.14 miles, or more? The oldest of the men said nothing at all about it."
)
ENDLESS = {"eos_threshold": float("inf")}  # speaks until it is stopped, or to the limit


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tts")


@pytest.fixture(scope="module")
def files(folder) -> tiny_files.Files:
    return tiny_files.write(folder / "model")


@pytest.fixture(scope="module")
def tts(files, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
        yield ptts_jax.load(files.yaml)


@pytest.fixture(scope="module")
def voices(tts) -> list[Voice]:
    return [tts.voice(tiny_files.speech(seconds, seed=i)) for i, seconds in enumerate((1, 2.5))]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not workers()


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "ptts-lm"]


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape and a.std() > 0.01
    np.testing.assert_allclose(a, b, atol=1e-4)


# The same seed, the same audio.


@pytest.fixture(scope="module")
def alone(tts, voices) -> list[np.ndarray]:
    """What everything else must equal: several chunks, one after the other."""
    return [tts.generate(LONG, v, seed=7, max_tokens=12) for v in voices]


def test_streamed_and_whole(tts, voices, alone):
    blocks = list(tts.stream(LONG, voices[0], seed=7, max_tokens=12))
    assert all(b.dtype == np.float32 and b.ndim == 1 and b.size for b in blocks)
    assert blocks[0].size == tts.config.mimi.frame_size  # the first frame at once
    np.testing.assert_array_equal(np.concatenate(blocks), alone[0])
    assert alone[0].size != alone[1].size  # the voice matters


@pytest.mark.parametrize("singles, block", [(1, 8), (3, 2), (0, 5)])
def test_sizes_of_blocks_do_not_matter(singles, block, tts, voices, alone, monkeypatch):
    monkeypatch.setattr(drivers, "SINGLES", singles)
    monkeypatch.setattr(drivers, "BLOCK", block)
    same(tts.generate(LONG, voices[0], seed=7, max_tokens=12), alone[0])


def test_batched(tts, voices, alone):
    """More rows than fit side by side, of both voices, seeds and lengths mixed."""
    lines = [LONG, "Hello.", LONG, "Was it 3.14 miles?"]
    owners = [voices[0], voices[1], voices[1], voices[0]]
    waves = tts.generate_batch(lines, owners, seed=[7, 8, 7, -9], max_tokens=12)
    same(waves[0], alone[0])
    same(waves[2], alone[1])
    same(waves[1], tts.generate("Hello.", voices[1], seed=8, max_tokens=12))
    same(waves[3], tts.generate("Was it 3.14 miles?", voices[0], seed=-9, max_tokens=12))
    assert len(tts._jobs(LONG, 0, None, 12)) > 3


def test_lists_of_a_batch(tts, voices):
    one, two = tts.generate_batch(("One.", "Two."), voices[0], seed=3)
    same(one, tts.generate("One.", voices[0], seed=3))
    same(two, tts.generate("Two.", voices[0], seed=3))
    assert tts.generate_batch([], voices[0]) == []
    with pytest.raises(ValueError, match="voice: 2 given for 1 texts"):
        tts.generate_batch(["One."], voices)
    with pytest.raises(ValueError, match="seed: 1 given for 2 texts"):
        tts.generate_batch(["One.", "Two."], voices, seed=[1])
    with pytest.raises(ValueError, match="takes a list of texts"):
        tts.generate_batch("One.", voices[0])
    with pytest.raises(ValueError, match="nothing to say"):
        tts.generate_batch(["One.", "..."], voices[0])


def test_in_threads_as_alone(tts, voices, alone):
    """Two that stream, two that batch and two that clone, on one object at the same time."""
    start = threading.Barrier(6)

    def streamed(which: int) -> np.ndarray:
        start.wait()
        return tts.generate(LONG, voices[which], seed=7, max_tokens=12)

    def batched(which: int) -> np.ndarray:
        start.wait()
        return tts.generate_batch([LONG], voices[which], seed=7, max_tokens=12)[0]

    def cloned(which: int) -> np.ndarray:
        start.wait()
        voice = tts.voice(tiny_files.speech((1, 2.5)[which], seed=which))
        return tts.generate(LONG, voice, seed=7, max_tokens=12)

    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(f, i) for f in (streamed, batched, cloned) for i in (0, 1)]
        for i, wave in enumerate(made):
            same(wave.result(), alone[i % 2])


def test_seeds(tts, voices):
    def speak(seed: int | None) -> bytes:
        return tts.generate("Hello there.", voices[0], seed=seed).tobytes()

    seeds = [0, 1, -1, 2**31, 2**63, 10**30]
    made = [speak(seed) for seed in seeds]
    assert len(set(made)) == len(seeds)
    assert [speak(seed) for seed in seeds] == made
    assert speak(None) != speak(None)
    assert speak(np.int64(1)) == made[1]


def test_temperature_zero_needs_no_seed(tts, voices):
    a, b = (tts.generate("Hello there.", voices[0], temperature=0) for _ in range(2))
    np.testing.assert_array_equal(a, b)


# How it ends.


def test_options(tts, voices):
    frame = tts.config.mimi.frame_size
    full = tts.generate("Hello.", voices[0], seed=1, **ENDLESS)
    (job,) = tts._jobs("Hello.", 1, None, 50)
    assert full.size == job.limit * frame
    early = {"eos_threshold": float("-inf"), "seed": 1}
    assert tts.generate("Hello.", voices[0], **early).size == (6 + 3 + 2) * frame
    for tail in (0, 4):
        wave = tts.generate("Hello.", voices[0], frames_after_eos=tail, **early)
        assert wave.size == (6 + tail) * frame
        np.testing.assert_allclose(wave, full[: wave.size], atol=1e-5)
    clamped = tts.generate("Hello.", voices[0], seed=1, noise_clamp=0.01, **ENDLESS)
    still = tts.generate("Hello.", voices[0], temperature=0, **ENDLESS)
    assert np.abs(clamped - still).max() < np.abs(full - still).max() / 3
    twice = tts.generate("Hello.", voices[0], seed=1, steps=2, **ENDLESS)
    assert not np.allclose(twice, full, atol=1e-3)


@pytest.mark.parametrize(
    "name, value",
    [
        *(("temperature", x) for x in (-0.1, float("nan"), float("inf"))),
        *(("steps", x) for x in (0, -1, 10**9)),
        *(("noise_clamp", x) for x in (0, -1, float("nan"))),
        ("eos_threshold", float("nan")),
        *(("frames_after_eos", x) for x in (-1, 2**40)),
        *(("max_tokens", x) for x in (0, -5, 10**6)),
    ],
)
def test_options_that_make_no_sense(name, value, tts, voices):
    for call in (tts.stream, lambda line, *a, **k: tts.generate_batch([line], *a, **k)):
        with pytest.raises(ValueError, match=f"^{name} {value}: give a .*number"):
            call("Hello.", voices[0], **{name: value})


@pytest.mark.parametrize("line", ["", " \n", "...", "?! — “”", "🙂🎉", "\u200b"])
def test_nothing_to_say(line, tts, voices):
    with pytest.raises(ValueError, match="there is nothing to say"):
        tts.stream(line, voices[0])  # at once, not with the first block


def test_half_a_character(tts, voices):
    with pytest.raises(ValueError, match="not valid Unicode"):
        tts.stream("Hello \ud83d.", voices[0])


def test_closing_ends_the_work(tts, voices):
    blocks = tts.stream(LONG, voices[0], seed=0, **ENDLESS)
    assert not workers()  # nothing starts before the first block is wanted
    next(blocks)
    assert len(workers()) == 1
    blocks.close()
    assert not workers()
    blocks = tts.stream(LONG, voices[0], seed=0, **ENDLESS)
    next(blocks)
    del blocks  # forgotten rather than closed
    assert not workers()


def test_a_stop_event_ends_the_work(tts, voices):
    stop = threading.Event()
    blocks = tts.stream(LONG, voices[0], seed=0, stop=stop, **ENDLESS)
    next(blocks)
    stop.set()
    assert len(list(blocks)) <= 1
    assert list(tts.stream(LONG, voices[0], stop=stop)) == []
    assert tts.generate(LONG, voices[0], stop=stop).size == 0
    assert [w.size for w in tts.generate_batch([LONG, LONG], voices[0], stop=stop)] == [0, 0]


def test_a_stop_event_ends_work_that_nobody_listens_to(tts, voices):
    stop = threading.Event()
    blocks = tts.stream(LONG, voices[0], seed=0, stop=stop, **ENDLESS)
    next(blocks)
    (worker,) = workers()
    stop.set()
    worker.join(30)
    assert not worker.is_alive()
    blocks.close()


def test_an_error_of_the_worker_reaches_the_listener(tts, voices, monkeypatch):
    def broken(*_):
        raise RuntimeError("the step broke")

    monkeypatch.setattr(generate, "several", broken)
    with pytest.raises(RuntimeError, match="the step broke"):
        tts.generate("Hello.", voices[0])


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """A list that gets the batch size of every frame that the language model makes."""
    made: list[int] = []
    first, several, scan_steps = generate.first, generate.several, generate.scan_steps

    def counted_first(*args):
        made.append(len(args[-1]))
        return first(*args)

    def counted(params, config, state, noise, count):
        made.extend(len(rows) for rows in noise[:count])
        return several(params, config, state, noise, count)

    def counted_scan(params, config, state, noise):
        made.extend(len(rows) for rows in noise)
        return scan_steps(params, config, state, noise)

    monkeypatch.setattr(generate, "first", counted_first)
    monkeypatch.setattr(generate, "several", counted)
    monkeypatch.setattr(generate, "scan_steps", counted_scan)
    return made


TEXTS = {
    "sentences": "The quick brown fox jumps over the lazy dog. ",
    "words": "fox jumps over lazy ",
    "one word": "a",
    "points": "3.5",
    "emoji": "🙂",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_100_kb_of_text_starts_at_once(kind, tts, voices, steps, caplog):
    """And is cut into chunks that memory holds, also where it has no sentences nor words."""
    unit = TEXTS[kind]
    line = unit * (100_000 // len(unit.encode())) + " end"
    stop = threading.Event()
    blocks = tts.stream(line, voices[0], seed=0, stop=stop)
    assert next(blocks).size == tts.config.mimi.frame_size
    stop.set()
    assert len(list(blocks)) <= 1
    assert len(steps) < 100
    jobs = tts._jobs(line, 0, None, 50)
    assert len(jobs) > 100 and max(len(j.tokens) for j in jobs) <= text.ENDLESS
    assert len(caplog.records) <= 2  # one warning at most for each time it was cut


def test_the_language_model_does_not_run_far_ahead(tts, voices, steps):
    blocks = tts.stream("Hello there. " * 2000, voices[0], seed=0)
    next(blocks)
    deadline = time.monotonic() + 60
    while len(steps) < stream.AHEAD and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)  # in which it would go on
    assert stream.AHEAD <= len(steps) <= 1.5 * stream.AHEAD
    taken = len(steps)
    for _ in range(20):
        next(blocks)
    while len(steps) == taken and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(steps) > taken  # whoever listens lets it go on
    blocks.close()


def test_memory_of_a_long_text_is_that_of_its_longest_chunk(tts):
    jobs = tts._jobs("Hello there. " * 5000, 0, None, 50)
    voice = tts.voice(tiny_files.speech(1))
    assert drivers.slots_for([voice], jobs) <= 512


# Voices.


def equal(a: Voice, b: Voice, tol: float = 0.0) -> bool:
    layers = zip((*a.k, *a.v), (*b.k, *b.v), strict=True)
    return a.length == b.length and all(np.allclose(x, y, atol=tol) for x, y in layers)


def test_a_voice_from_anything(tts, folder):
    wave = tiny_files.speech(1.3)
    path = folder / "me.wav"
    soundfile.write(path, wave, 24000, subtype="FLOAT")
    want = tts.voice(wave)
    assert want.length == 1 + 18  # the voice BOS; 1.3 s and a pause in frames of 80 ms
    assert equal(tts.voice(path), want)
    assert equal(tts.voice(str(path)), want)
    assert tts.voice(want) is want
    assert tts.voice(path) is tts.voice(str(path))  # not made again
    assert equal(tts.voice(np.stack([wave, wave])), want, 1e-5)  # channels
    assert equal(tts.voice(np.round(wave * 32767).astype(np.int16)), want, 0.05)
    assert equal(tts.voice(wave.tolist()), want)
    assert tts.voice(path, truncate=0.5).length == 1 + 8
    assert tts.voice(path).length == want.length


def test_cloning_another_voice_compiles_nothing(tts):
    tts.voice(tiny_files.speech(1, seed=8))
    with compilations() as found:
        assert tts.voice(tiny_files.speech(2.2, seed=9)).length == 30
    assert not found


def test_a_recording_that_was_made_anew(tts, folder):
    path = folder / "again.wav"
    for seconds in (1.0, 2.0):
        soundfile.write(path, tiny_files.speech(seconds), 24000)
        assert equal(tts.voice(path), tts.voice(soundfile.read(path, dtype="float32")[0]))


def test_saving_a_voice(tts, voices, folder):
    path = folder / "kept.safetensors"
    voices[0].save(path)
    for source in (path, str(path), tts.voice(path)):
        assert equal(tts.voice(source), voices[0])
    same(tts.generate("Hi.", path, seed=1), tts.generate("Hi.", voices[0], seed=1))
    with pytest.raises(ValueError, match="cannot be written"):
        voices[0].save(folder / "nowhere" / "kept.safetensors")
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_voice_of_another_model(tts, files, folder):
    wide = dataclasses.replace(tiny_files.CONFIG.flow_lm.transformer, num_layers=3)
    flow_lm = dataclasses.replace(tiny_files.CONFIG.flow_lm, transformer=wide)
    c = dataclasses.replace(tiny_files.CONFIG, flow_lm=flow_lm)
    other = ptts_jax.TTS("other", c, tiny_files.params(c), tts.tokenizer, True)
    rng = np.random.default_rng(0)
    layers = tuple(rng.standard_normal((3, 4, 5, 8), np.float32))
    foreign = Voice(layers, layers)
    assert other.voice(foreign) is foreign
    with pytest.raises(ValueError, match="made with another model .*3 layers of 4 heads"):
        tts.generate("Hello.", foreign)
    foreign.save(folder / "foreign.safetensors")
    with pytest.raises(ValueError, match="not a voice for this model.*more than 2 layers"):
        tts.voice(folder / "foreign.safetensors")


def test_audio_that_is_no_voice(tts, folder):
    wave = tiny_files.speech(1)
    soundfile.write(folder / "short.wav", wave[:240], 24000)
    soundfile.write(folder / "empty.wav", wave[:0], 24000)
    soundfile.write(folder / "nan.wav", wave * np.nan, 24000, subtype="FLOAT")
    (folder / "cut.wav").write_bytes((folder / "short.wav").read_bytes()[:20])
    (folder / "text.wav").write_text("not audio")
    for source, problem in {
        folder / "short.wav": "only 0.01 s of sound",
        folder / "empty.wav": "no audio",
        folder / "nan.wav": "NaN",
        folder / "cut.wav": "not readable as audio",
        folder / "text.wav": "not readable as audio",
        folder / "none.wav": "no such file",
        folder: "folder",
        "": "no name",
        "nobody": "no such file",
    }.items():
        with pytest.raises(ValueError, match=problem) as caught:
            tts.voice(source)
        assert str(source) in str(caught.value) and "\n" not in str(caught.value)
    for samples, problem in (
        (wave[:240], "only 0.01 s"),
        (wave * np.nan, "NaN"),
        (wave * 0, "silent"),
        (wave[:0], "no audio"),
        (np.zeros((2, 3, 4)), r"must be an array of samples"),
        (5, "must be an array of samples"),
        ((wave, 24000), "not tuple"),
    ):
        with pytest.raises(ValueError, match=problem):
            tts.voice(samples)
    with pytest.raises(ValueError, match="truncate 0"):
        tts.voice(wave, truncate=0)


@pytest.fixture(scope="module")
def public(tts) -> ptts_jax.TTS:
    """As loaded by a released name from the weights for everyone."""
    return ptts_jax.TTS("english", tts.config, tts.params, tts.tokenizer, False)


def test_public_weights_clone_no_voice(files, folder, monkeypatch):
    """Told by the zeros of the encoder, whatever name the file was found under."""
    monkeypatch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
    weights = folder / "public.safetensors"
    tiny_files.write_weights(weights, tiny_files.params(), public=True)
    described = folder / "public.yaml"
    described.write_text(tiny_files.described(tiny_files.CONFIG, weights, files.tokenizer))
    for _ in range(2):  # converted, and from the cache
        tts = ptts_jax.load(described)
        assert not tts.voice_cloning
        with pytest.raises(ValueError, match="cannot clone a voice.*ready voice.*hf auth login"):
            tts.voice(tiny_files.speech(1))
    wave = folder / "cloned.wav"
    soundfile.write(wave, tiny_files.speech(1), 24000)
    with pytest.raises(ValueError, match="cannot clone"):
        tts.generate("Hello.", wave)


def test_ready_voices_by_name(public, tts):
    assert "alba" in public.voices and len(public.voices) == 27
    assert tts.voices == ()
    with pytest.raises(ValueError, match="unknown voice 'albaa'; did you mean alba"):
        public.voice("albaa")
    with pytest.raises(ValueError, match="'alba' belongs to the released models"):
        tts.voice("alba")


# Loading.


def test_a_model_that_is_none(files, folder, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(folder / "cache"))
    (folder / "typo.yaml").write_text(files.yaml.read_text().replace("num_heads", "num_head"))
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, problem in {
        "englsh": "unknown model 'englsh'; did you mean english",
        "": "'' is not a model",
        "model.bin": "'model.bin' is not a model",
        str(folder): "is not a model",
        str(folder / "none.yaml"): "no such file",
        str(folder / "typo.yaml"): "num_head: unknown field; did you mean num_heads",
        str(folder / "binary.yaml"): "not a text file",
        str(files.weights): "not a converted model",
    }.items():
        with pytest.raises(ValueError, match=problem):
            ptts_jax.load(name)


def test_a_folder_does_not_hide_a_released_model(tmp_path, monkeypatch):
    """Whatever lies in the working directory; no network is needed to see which way it goes."""
    (tmp_path / "english").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE"):
        ptts_jax.load("english")


def test_damaged_weights(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    weights, described = tmp_path / "model.safetensors", tmp_path / "model.yaml"
    described.write_text(tiny_files.described(tiny_files.CONFIG, weights, files.tokenizer))
    for payload, problem in (
        (None, "no such file"),
        (b"", "empty"),
        (files.weights.read_bytes()[:-7], "cut short"),
        (files.weights.read_bytes()[:100], "cut short"),
        (b"\x80\x02pickle" * 10, "not a safetensors file"),
    ):
        if payload is not None:
            weights.write_bytes(payload)
        with pytest.raises(ValueError, match=problem) as caught:
            ptts_jax.load(described)
        assert str(weights) in str(caught.value) and "\n" not in str(caught.value)
    more = dataclasses.replace(tiny_files.CONFIG.flow_lm, z_dim=8)
    c = dataclasses.replace(tiny_files.CONFIG, flow_lm=more)
    weights.write_bytes(files.weights.read_bytes())
    described.write_text(tiny_files.described(c, weights, files.tokenizer))
    with pytest.raises(ValueError, match="do not fit the model's config") as caught:
        ptts_jax.load(described)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cache/weights/*"))


QUIET_IMPORT = """
import os, sys, threading
import jax, flax.linen, numpy
settings, environment = dict(jax.config.values), dict(os.environ)
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.") else None)
import ptts_jax
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a backend was started"
assert dict(jax.config.values) == settings, "settings were changed"
assert dict(os.environ) == environment, "the environment was changed"
assert threading.active_count() == 1, "a thread was started"
assert not seen, seen
heavy = {"scipy.signal", "soundfile", "huggingface_hub", "sentencepiece", "tokenizers", "torch"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert callable(ptts_jax.use_compilation_cache)
"""


def test_importing_does_nothing():
    code, environment = QUIET_IMPORT, os.environ | {"PYTHONPATH": os.getcwd()}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout == "", run.stderr


HEAPS = """
import ctypes, sys, threading
from ptts_jax import startup
if sys.argv[1] == "one":
    startup.use_one_heap()
libc, block = ctypes.CDLL(None), threading.Barrier(4)
libc.malloc.restype = ctypes.c_void_p
def work():
    libc.free(ctypes.c_void_p(libc.malloc(1000)))
    block.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads], [t.join() for t in threads]
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere there is nothing to set")
def test_a_command_has_one_heap():
    heaps = [
        subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, check=True).stdout
        for how in ("one", "many")
    ]
    assert heaps[0].count(b"<heap nr=") == 1 < heaps[1].count(b"<heap nr=")
