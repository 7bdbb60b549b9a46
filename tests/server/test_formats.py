"""Every format, piece by piece: the whole audio, and its first bytes early."""

import io

import numpy as np
import pytest
import soundfile

from ptts_jax.server.formats import FORMATS, OPENAI_RATE

SECONDS = 1.68


def decoded(data: bytes, kind: str) -> tuple[np.ndarray, int]:
    if kind == "pcm":
        return np.frombuffer(data, "<i2") / np.float32(32768), OPENAI_RATE
    if kind in ("aac", "opus", "flac"):  # a stream of these does not say how long it is
        import av

        with av.open(io.BytesIO(data)) as file:
            rate = file.streams.audio[0].rate
            floats = av.AudioResampler("flt", "mono", rate)
            frames = [f for frame in file.decode(audio=0) for f in floats.resample(frame)]
            return np.concatenate([f.to_ndarray()[0] for f in frames]), rate
    return soundfile.read(io.BytesIO(data), dtype="float32")


@pytest.mark.parametrize("rate", [24000, 16000])
@pytest.mark.parametrize("kind", FORMATS)
def test_frames_in_audio_out(kind, rate):
    time = np.arange(int(SECONDS * rate)) / rate
    wave = (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    encoder, frame = FORMATS[kind][1](rate), rate * 2 // 25
    parts = [encoder.write(wave[at : at + frame]) for at in range(0, len(wave), frame)]
    assert sum(map(len, parts[:3])) > 0, "a listener would wait"
    data = b"".join([*parts, encoder.end()])
    given, given_rate = decoded(data, kind)
    assert given_rate == {"pcm": 24000, "opus": 48000}.get(kind, rate)
    assert abs(len(given) / given_rate - SECONDS) < 0.15
    assert abs(given.std() / wave.std() - 1) < 0.1
    spectrum = np.abs(np.fft.rfft(given))
    peak = spectrum.argmax() * given_rate / len(given)
    assert abs(peak - 220) < 5


@pytest.mark.parametrize("kind", FORMATS)
def test_silence_of_no_length_ends_well(kind):
    assert isinstance(FORMATS[kind][1](24000).end(), bytes)
