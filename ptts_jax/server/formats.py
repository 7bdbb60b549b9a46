"""Audio formats that a listener gets piece by piece: samples in, bytes out.

WAV and PCM by hand, MP3 and FLAC by soundfile, Opus, AAC and other rates by PyAV, which give their
first bytes within two frames.
"""

import io
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ptts_jax.audio.writing import STREAM_BYTES, int16, wav_header

OPENAI_RATE = 24_000  # of raw samples, which cannot say theirs


class Encoder(Protocol):
    def write(self, pcm: np.ndarray) -> bytes:
        """The bytes that samples [T] in -1..1 lead to; there may be none yet."""

    def end(self) -> bytes:
        """The last bytes."""


class _Pcm:
    def __init__(self, rate: int) -> None:
        self._resampler = None
        if rate != OPENAI_RATE:
            import av

            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=OPENAI_RATE)
        self._rate = rate

    def write(self, pcm: np.ndarray) -> bytes:
        samples = int16(pcm)
        return samples.tobytes() if self._resampler is None else self._resampled(samples)

    def end(self) -> bytes:
        return b"" if self._resampler is None else self._resampled(None)

    def _resampled(self, samples: np.ndarray | None) -> bytes:
        frame = None if samples is None else _frame(samples, self._rate)
        return b"".join(f.to_ndarray().tobytes() for f in self._resampler.resample(frame))


class _Wav:
    """Its length is not known when it begins: the header says the most there can be."""

    def __init__(self, rate: int) -> None:
        self._header = wav_header(rate, STREAM_BYTES)

    def write(self, pcm: np.ndarray) -> bytes:
        header, self._header = self._header, b""
        return header + int16(pcm).tobytes()

    def end(self) -> bytes:
        return self._header


class _Sink(io.RawIOBase):
    """A file that is sent as it grows: what is written over later has gone already."""

    def __init__(self) -> None:
        self._new = bytearray()
        self._at = self._size = 0

    def write(self, data: Any) -> int:
        data = bytes(data)
        if self._at == self._size:
            self._new += data
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        return b""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def take(self) -> bytes:
        new, self._new = bytes(self._new), bytearray()
        return new


class _SoundFile:
    def __init__(self, rate: int, container: str, subtype: str, **how: Any) -> None:
        import soundfile

        self._sink = _Sink()
        self._file = soundfile.SoundFile(self._sink, "w", rate, 1, subtype, format=container, **how)

    def write(self, pcm: np.ndarray) -> bytes:
        self._file.write(int16(pcm))
        self._file.flush()
        return self._sink.take()

    def end(self) -> bytes:
        self._file.close()
        return self._sink.take()


class _Av:
    def __init__(self, rate: int, container: str, codec: str, **options: str) -> None:
        import av

        self._sink, self._rate = _Sink(), rate
        self._out = av.open(self._sink, "w", format=container, options=options)
        self._stream = self._out.add_stream(codec, rate=rate, layout="mono")
        self._resampler = av.AudioResampler(self._stream.format, "mono", rate)

    def write(self, pcm: np.ndarray) -> bytes:
        for frame in self._resampler.resample(_frame(int16(pcm), self._rate)):
            self._out.mux(self._stream.encode(frame))
        return self._sink.take()

    def end(self) -> bytes:
        self._out.mux(self._stream.encode(None))
        self._out.close()
        return self._sink.take()


def _frame(samples: np.ndarray, rate: int) -> Any:
    import av

    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    return frame


# A stream can't go back to say how long it is; of a constant rate players can tell.
_CBR = {"bitrate_mode": "CONSTANT", "compression_level": 0.4}

FORMATS: dict[str, tuple[str, Callable[[int], Encoder]]] = {  # name: (media type, encoder at rate)
    "mp3": ("audio/mpeg", lambda rate: _SoundFile(rate, "MP3", "MPEG_LAYER_III", **_CBR)),
    "opus": ("audio/ogg", lambda rate: _Av(rate, "ogg", "libopus", page_duration="80000")),
    "aac": ("audio/aac", lambda rate: _Av(rate, "adts", "aac")),
    "flac": ("audio/flac", lambda rate: _SoundFile(rate, "FLAC", "PCM_16")),
    "wav": ("audio/wav", _Wav),
    "pcm": ("audio/pcm", _Pcm),
}
