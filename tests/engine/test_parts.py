"""Pauses, rates and voices inside one text: to the sample, streamed and in batches."""

import threading

import numpy as np
import pytest

from ptts_jax.audio.stretch import stretched
from ptts_jax.engine import parts
from ptts_jax.engine.parts import Part
from tests.support import tiny_files

HOW = {"seed": 7, "max_tokens": 12, "frames_after_eos": 2}


@pytest.fixture(scope="module")
def other(tts, tmp_path_factory):
    """A second voice, as a file that a text can name."""
    path = tmp_path_factory.mktemp("voices") / "other.safetensors"
    tts.voice(tiny_files.speech(2.0, seed=1)).save(path)
    return str(path)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [t for t in threading.enumerate() if t.name == "ptts-lm"]


def near(a, b):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_off_is_what_it_was(tts, voice):
    text = "One, two. Three 4 [pause 1] five."
    plain = tts.generate(text, voice, **HOW)
    off = tts.generate(text, voice, **HOW, normalize=False, markup=False, lexicon={}, speed=1)
    assert np.array_equal(plain, off)


def test_words_are_said_for_numbers(tts, voice):
    text = "It costs $5.20 for Dr. No."
    said = "It costs five dollars and twenty cents for Doctor No."
    near(tts.generate(text, voice, **HOW, normalize=True), tts.generate(said, voice, **HOW))
    german = tts.generate("12 Boote", voice, **HOW, normalize=True, language="de")
    near(german, tts.generate("zwölf Boote", voice, **HOW))


def test_a_pause_is_exact(tts, voice):
    """Speech, zeros, speech: each as if it were alone, but for the fade before a pause."""
    wave = tts.generate("One boat. [pause 0.5] Two boats.", voice, **HOW, markup=True)
    first = tts.generate("One boat.", voice, **HOW)
    silence, fade = round(0.5 * tts.sample_rate), round(parts.FADE * tts.sample_rate)
    at = first.size
    near(wave[: at - fade], first[:-fade])
    near(wave[at - fade : at], first[-fade:] * np.linspace(1, 0, fade, dtype=np.float32))
    assert not wave[at : at + silence].any()
    assert wave[at + silence :].size % tts.config.mimi.frame_size == 0
    assert wave[at + silence :].std() > 0.01


def test_a_pause_at_the_beginning_and_at_the_end(tts, voice):
    wave = tts.generate("[pause 0.25]One boat.[pause 0.1][pause 0.2]", voice, **HOW, markup=True)
    first = tts.generate("One boat.", voice, **HOW)
    before, after = round(0.25 * tts.sample_rate), round(0.3 * tts.sample_rate)
    assert wave.size == before + first.size + after
    assert not wave[:before].any() and not wave[-after:].any()


def test_what_follows_a_pause_has_noise_of_its_own(tts, voice):
    wave = tts.generate("One boat. [pause 0.5] One boat.", voice, **HOW, markup=True)
    size = tts.generate("One boat.", voice, **HOW).size
    assert not np.allclose(wave[-size:][:50], wave[:size][:50], atol=1e-3)


def test_a_rate_stretches(tts, voice):
    wave = tts.generate("One boat.", voice, **HOW)
    fast = tts.generate("[rate 1.6]One boat.", voice, **HOW, markup=True)
    near(fast, stretched(wave, tts.sample_rate, 1.6))
    near(fast, tts.generate("One boat.", voice, **HOW, speed=1.6))
    both = tts.generate("[rate 2]One boat.", voice, **HOW, markup=True, speed=0.8)
    near(both, fast)


def test_voices_change_in_one_text(tts, voice, other):
    text = f"One boat. [voice {other}] Two boats. [voice] Three."
    wave = tts.generate(text, voice, **HOW, markup=True)
    first = tts.generate("One boat.", voice, **HOW)
    near(wave[: first.size], first)
    start = tts.generate(f"[voice {other}]One boat.", voice, **HOW, markup=True)
    near(start, tts.generate("One boat.", other, **HOW))


def test_a_batch_is_the_same(tts, voice, other):
    lines = [
        f"[pause 0.2]One boat, 3 men. [rate 1.5]Two boats.\n\n[voice {other}] Three boats.",
        "Four boats, said Dr. No.",
        "[rate 0.5] Five. [pause 1]",
    ]
    how = {**HOW, "markup": True, "normalize": True, "lexicon": {"boats": "ships"}}
    waves = tts.generate_batch(lines, voice, **how)
    for line, wave in zip(lines, waves, strict=True):
        near(wave, tts.generate(line, voice, **how))


def test_a_lexicon_file(tts, voice, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("boat = ship\n")
    near(
        tts.generate("One boat.", voice, **HOW, lexicon=path),
        tts.generate("One ship.", voice, **HOW),
    )


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("One.\n[voice nobody] Two.", {"markup": True}, r"^line 2, column 1: .*nobody"),
        (
            "One [rate 3]two",
            {"markup": True, "speed": 2},
            "column 13: speed 2 at rate 3: 6.* from 0.25 to 4",
        ),
        ("[pause 1]", {"markup": True}, "there is nothing to say: no word is left"),
        ("😀 ½", {"speed": 9}, "speed 9: give a number from 0.25 to 4"),
        ("One", {"speed": "fast"}, "speed fast: give a number"),
        ("One", {"language": "xx"}, "language 'xx': give one of en, fr"),
        ("One", {"normalize": 1}, "normalize 1: give True or False"),
        ("One", {"lexicon": 3}, "lexicon: give a file, or a dictionary"),
        ("One", {"markdown": True}, "markdown: there is no such option"),
        ("<speak>One", {"markup": True}, "line 1, column 11: not well-formed SSML"),
    ],
)
def test_mistakes_are_said_at_once(tts, voice, text, options, error):
    with pytest.raises(ValueError, match=error) as caught:
        tts.stream(text, voice, **options)
    assert "\n" not in str(caught.value)


def test_closing_ends_the_work(tts, voice):
    stream = tts.stream("One. [pause 1] Two.", voice, **HOW, markup=True, speed=0.9)
    next(stream)
    stream.close()


def test_stop_ends_between_parts(tts, voice):
    stop = threading.Event()
    stream = tts.stream("[pause 1]One.[pause 1]Two.", voice, **HOW, markup=True, stop=stop)
    next(stream)
    stop.set()
    assert list(stream) == []


def test_blocks_may_be_shorter_than_the_fade():
    blocks = [np.ones(2, np.float32)] * 4
    wave = parts.whole([Part(["job"], None, silence=3)], 1000, lambda part: blocks)
    assert np.array_equal(wave[:3], [1, 1, 1]) and not wave[-3:].any()
    assert wave.size == 11 and np.array_equal(wave[3:8], np.linspace(1, 0, 5, dtype=np.float32))


def test_unknown_characters_are_named_or_refused(tts, voice, caplog):
    tts.generate("Hello 中国.", voice, **HOW, normalize=True)
    assert "2 characters unknown to this model: 中 国" in caplog.text
    with pytest.raises(ValueError, match="no character of the text is known to this model"):
        tts.stream("中国", voice, normalize=True)
