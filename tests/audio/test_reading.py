"""Reading audio and making prompts of it, whatever it is."""

import os
import struct
import threading

import numpy as np
import pytest
import soundfile

from ptts_jax import audio
from ptts_jax.audio import end_on_pause, prepare_prompt, read, resample
from tests.support.tones import RATE, tone


def refused(path) -> str:
    """The one line that reading it gives."""
    with pytest.raises(ValueError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


# Reading.


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_wav_of_any_width(subtype, channels, tmp_path):
    x = np.stack([tone(0.3, 8000, 200 + 50 * c) for c in range(channels)], axis=1)
    soundfile.write(tmp_path / "a.wav", x, 8000, subtype)
    y, rate = read(tmp_path / "a.wav")
    assert (y.dtype, y.shape, rate) == (np.float32, (2400,), 8000)
    step = {"PCM_U8": 2**-7, "PCM_16": 2**-15}.get(subtype, 2**-22)
    np.testing.assert_allclose(y, x.mean(axis=1), atol=1.01 * step)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
def test_rates(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.1, rate), rate)
    y, found = read(tmp_path / "a.wav")
    assert (len(y), found) == (rate // 10, rate)


@pytest.mark.parametrize(("name", "noise"), [("a.flac", 1e-4), ("a.ogg", 0.02), ("a.mp3", 0.02)])
def test_compressed_files(name, noise, tmp_path):
    x = tone(6)
    soundfile.write(tmp_path / name, np.stack([x, x], axis=1), RATE)
    y, rate = read(str(tmp_path / name))
    assert (len(y), rate) == (len(x), RATE)
    assert np.sqrt(np.mean((y - x) ** 2)) < noise


def test_long_file_is_read_whole(tmp_path):
    x = tone(10)
    soundfile.write(tmp_path / "a.wav", x, RATE, "FLOAT")
    np.testing.assert_array_equal(read(tmp_path / "a.wav")[0], x)


def test_wav_of_unknown_length(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.2), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 2**32 - 1)
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read(tmp_path / "a.wav")[0]) == int(0.2 * RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.raw", "a", "a.m4a"])
@pytest.mark.parametrize("content", [b"RIFF", b"just some text\n" * 100])
def test_no_audio(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert "not readable as audio" in refused(tmp_path / name)


def test_an_empty_file(tmp_path):
    (tmp_path / "zero.wav").touch()
    assert refused(tmp_path / "zero.wav").endswith("zero.wav: it is empty")


def test_a_pipe_is_read_whole(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(1.0), RATE)
    os.mkfifo(tmp_path / "pipe")
    payload = (tmp_path / "a.flac").read_bytes()
    feeder = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(payload))
    feeder.start()
    got, want = audio.read(tmp_path / "pipe"), audio.read(tmp_path / "a.flac")
    feeder.join()
    assert got[1] == want[1]
    np.testing.assert_array_equal(got[0], want[0])


def test_decoders_print_nothing(tmp_path, capfd):
    """libmpg123 comments on what it skips."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(1.0), RATE, format="MP3")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\0\xff" * 300 + whole[len(whole) // 2 :])
    assert len(audio.read(path)[0]) > RATE // 4
    assert capfd.readouterr().err == ""


def test_long_prompts(caplog):
    assert audio.prepare_prompt(tone(30), RATE, RATE).size and not caplog.messages
    audio.prepare_prompt(tone(90), RATE, RATE, name="me.wav")
    assert "me.wav is 90 s long" in caplog.text
    with pytest.raises(ValueError, match="me.wav is 11 minutes long, 10 are the most; cut it"):
        audio.prepare_prompt(np.ones(11 * 60 * 100, np.float32), 100, RATE, name="me.wav")
    assert audio.prepare_prompt(tone(90), RATE, RATE, 5.0).size < 6 * RATE


def test_file_without_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    assert "no audio" in refused(tmp_path / "a.wav")


def test_damaged_flac(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    assert "whole" in refused(tmp_path / "a.flac")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(bad, tmp_path):
    x = tone(0.1)
    x[100] = bad
    soundfile.write(tmp_path / "a.wav", x, RATE, "FLOAT")
    assert "NaN" in refused(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [1, 500, 3_000_000])
def test_absurd_rate(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.1), rate)
    assert "sample rate" in refused(tmp_path / "a.wav")


def test_paths_that_are_no_files(tmp_path):
    assert "No such file" in refused(tmp_path / "none.wav")
    assert "folder" in refused(tmp_path)


# Resampling and prompts.


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
def test_resampling_keeps_a_tone(rate):
    y = resample(tone(0.5, rate), rate, RATE)
    assert (y.dtype, len(y)) == (np.float32, RATE // 2)
    middle = slice(1000, -1000)
    np.testing.assert_allclose(y[middle], tone(0.5)[middle], atol=0.01)


def test_resampling_to_the_same_rate_changes_nothing():
    x = tone(0.1)
    assert resample(x, RATE, RATE) is x


def test_end_on_pause():
    x = np.concatenate([tone(1), np.zeros(RATE, "f4")])
    y = end_on_pause(x, RATE)
    assert len(y) == RATE + int(0.08 * RATE)
    assert not y[RATE:].any()
    np.testing.assert_array_equal(y[: RATE - 480], x[: RATE - 480])
    assert np.abs(y[RATE - 20 : RATE]).max() < 0.05
    assert x[RATE - 1] != y[RATE - 1]  # and the input is as it was
    np.testing.assert_array_equal(x, np.concatenate([tone(1), np.zeros(RATE, "f4")]))


def test_end_on_pause_of_less_than_a_frame():
    x = tone(0.01)
    assert end_on_pause(x, RATE) is x


@pytest.mark.parametrize("layout", ["T", "CT", "TC"])
def test_prompt_from_any_layout(layout):
    x = tone(1, 48000)
    shaped = {"T": x, "CT": np.stack([x, x]), "TC": np.stack([x, x], 1)}[layout]
    want = end_on_pause(resample(x, 48000, RATE), RATE)
    np.testing.assert_allclose(prepare_prompt(shaped, 48000, RATE), want, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float64"])
def test_prompt_from_any_numbers(dtype):
    x = tone(1)
    scaled = {"int16": x * 2**15, "int32": x.astype("f8") * 2**31, "uint8": x * 128 + 128}
    y = prepare_prompt(scaled.get(dtype, x).astype(dtype), RATE, RATE)
    np.testing.assert_allclose(y[:20000], x[:20000], atol=1.01 / 128 if dtype == "uint8" else 1e-4)


def test_prompt_truncated():
    y = prepare_prompt(tone(5, 16000), 16000, RATE, truncate_seconds=2)
    assert len(y) == 2 * RATE + int(0.08 * RATE)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(0, "f4"), "no audio"),
        (np.zeros((2, 0), "f4"), "no audio"),
        (np.zeros(RATE, "f4"), "silent"),
        (tone(1, level=1e-5), "silent"),
        (tone(0.01), "0.01 s of sound"),
        (np.concatenate([tone(0.05), np.zeros(RATE, "f4")]), "too little"),
        (np.full(RATE, np.nan, "f4"), "NaN"),
        (np.zeros((2, 2, 100), "f4"), "array"),
        (np.array(["a"]), "array"),
        (np.zeros(RATE, "c8"), "array"),
    ],
)
def test_hopeless_prompts(x, words):
    with pytest.raises(ValueError, match=words) as caught:
        prepare_prompt(x, RATE, RATE, name="me.wav")
    assert str(caught.value).startswith("me.wav ") and "\n" not in str(caught.value)
