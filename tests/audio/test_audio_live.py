"""Audio against the reference package: reading, resampling, prompts and written files."""

import io

import numpy as np
import pocket_tts.data.audio as reference
import pocket_tts.data.audio_utils as reference_utils
import pytest
import soundfile
import torch

from ptts_jax import audio

RATE = 24_000
RATES = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]


def speechlike(seed: int, seconds: float, rate: int) -> np.ndarray:
    """Noise in bursts of very different loudness, ending anywhere."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.1, int(seconds * rate))
    level = np.repeat(10 ** rng.uniform(-4, 0, 1 + len(x) // (rate // 10)), rate // 10)
    return (x * level[: len(x)]).astype(np.float32)


def prompt_of_the_reference(path, rate: int) -> np.ndarray:
    wav, found = reference.audio_read(path)
    wav = reference_utils.convert_audio(wav, found, rate, 1)
    return reference_utils.end_on_pause(wav, rate)[0].numpy()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_reading(subtype, channels, tmp_path):
    x = np.stack([speechlike(c, 0.5, 16000) for c in range(channels)], axis=1)
    soundfile.write(tmp_path / "a.wav", np.clip(x, -1, 1), 16000, subtype)
    theirs, their_rate = reference.audio_read(tmp_path / "a.wav")
    ours, rate = audio.read(tmp_path / "a.wav")
    assert rate == their_rate
    np.testing.assert_array_equal(ours, theirs[0].numpy())


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_reading_compressed(name, tmp_path):
    soundfile.write(tmp_path / name, np.clip(speechlike(0, 6, RATE), -1, 1), RATE)
    theirs = reference.audio_read(tmp_path / name)[0][0].numpy()
    np.testing.assert_allclose(audio.read(tmp_path / name)[0], theirs, atol=1e-7)


@pytest.mark.parametrize("to_rate", [24000, 16000, 24001])
@pytest.mark.parametrize("rate", RATES)
def test_resampling(rate, to_rate):
    x = speechlike(rate, 0.5, rate)
    theirs = reference_utils.convert_audio(torch.from_numpy(x)[None], rate, to_rate, 1)
    np.testing.assert_array_equal(audio.resample(x, rate, to_rate), theirs[0].numpy())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rate", [RATE, 16000, 11025, 40])
def test_end_on_pause(seed, rate):
    x = speechlike(seed, 0.3 + 0.1 * seed, rate)
    theirs = reference_utils.end_on_pause(torch.from_numpy(x)[None], rate)[0].numpy()
    ours = audio.end_on_pause(x, rate)
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("x", [np.zeros(0), np.zeros(100), np.zeros(2000), np.ones(479)])
def test_end_on_pause_at_the_edges(x):
    x = x.astype(np.float32)
    theirs = reference_utils.end_on_pause(torch.from_numpy(x)[None], RATE)[0].numpy()
    np.testing.assert_array_equal(audio.end_on_pause(x, RATE), theirs)


@pytest.mark.parametrize("rate", RATES)
def test_voice_prompts(rate, tmp_path):
    x = np.stack([speechlike(1, 2, rate), speechlike(2, 2, rate)], axis=1)
    soundfile.write(tmp_path / "a.wav", x, rate, "PCM_16")
    ours = audio.prepare_prompt(*audio.read(tmp_path / "a.wav"), RATE)
    np.testing.assert_allclose(ours, prompt_of_the_reference(tmp_path / "a.wav", RATE), atol=1e-7)


class Pipe(io.BytesIO):
    """A stream that cannot go back, as stdout into a pipe."""

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Stays readable."""


def test_written_wav(tmp_path):
    x = np.concatenate([speechlike(0, 1, RATE), [-2, 2, 1, -1, 0.999999, 3e-5]]).astype(np.float32)
    chunks = np.array_split(x, 5)
    reference.stream_audio_chunks(
        tmp_path / "theirs.wav", iter(map(torch.from_numpy, chunks)), RATE
    )
    with audio.open_writer(tmp_path / "ours.wav", RATE) as out:
        for chunk in chunks:
            out.write(chunk)
    assert (tmp_path / "ours.wav").read_bytes() == (tmp_path / "theirs.wav").read_bytes()


def test_streamed_wav(tmp_path, monkeypatch):
    chunks = np.array_split(speechlike(0, 1, RATE), 5)
    theirs = Pipe()
    reference.stream_audio_chunks(theirs, iter(map(torch.from_numpy, chunks)), RATE)
    ours = Pipe()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(ours, write_through=True))
    with audio.open_writer("-", RATE) as out:
        for chunk in chunks:
            out.write(chunk)
    assert ours.getvalue() == theirs.getvalue()
