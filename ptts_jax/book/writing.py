"""Chapters as files: one .m4b with chapter marks and a cover, or a file for each with a playlist.

All of it by PyAV, which writes every tag that players read.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ptts_jax.audio.writing import int16, plain_words
from ptts_jax.book.contents import Book, Cover
from ptts_jax.book.sound import Chapter
from ptts_jax.messages import say
from ptts_jax.store.paths import atomic_write

KINDS = {  # of a file for each chapter: container, codec, bits a second
    "mp3": ("mp3", "libmp3lame", 64_000),
    "opus": ("ogg", "libopus", 32_000),
    "flac": ("flac", "flac", None),
    "m4a": ("mp4", "aac", 64_000),
}


@dataclass(frozen=True)
class Target:
    """A file to write."""

    path: Path
    container: str
    codec: str
    bits: int | None
    options: dict[str, str]


class Encoder:
    """Samples into a file; `with opened(...) as encoder`."""

    def __init__(self, out: Any, stream: Any, rate: int) -> None:
        import av

        self._out, self._stream, self._rate = out, stream, rate
        self._resampler = av.AudioResampler(stream.format, "mono", rate)

    def write(self, wave: np.ndarray) -> None:
        """Samples [T] in -1..1."""
        import av

        if not wave.size:
            return
        frame = av.AudioFrame.from_ndarray(int16(wave)[None], format="s16", layout="mono")
        frame.sample_rate = self._rate
        for one in self._resampler.resample(frame):
            self._out.mux(self._stream.encode(one))

    def end(self) -> None:
        """The last of it."""
        for one in self._resampler.resample(None):
            self._out.mux(self._stream.encode(one))
        self._out.mux(self._stream.encode(None))


@contextmanager
def opened(
    target: Target,
    rate: int,
    tags: dict[str, str],
    chapters: Sequence[Chapter] = (),
    cover: Cover | None = None,
) -> Iterator[Encoder]:
    """A file that is there when all of it is written."""
    import av

    with plain_words(str(target.path)), atomic_write(target.path) as part:
        try:
            with av.open(part, "w", format=target.container, options=target.options) as out:
                stream = out.add_stream(target.codec, rate=rate, layout="mono")
                if target.bits:
                    stream.bit_rate = target.bits
                out.metadata.update(tags)
                out.set_chapters(list(_marks(chapters, rate)))
                _put_cover(out, cover)
                encoder = Encoder(out, stream, rate)
                yield encoder
                encoder.end()
        except av.error.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from None


def _marks(chapters: Iterable[Chapter], rate: int) -> Iterator[dict[str, Any]]:
    at = 0
    for number, chapter in enumerate(chapters):
        about = {"time_base": Fraction(1, rate), "metadata": {"title": chapter.title}}
        yield {"id": number, "start": at, "end": at + chapter.samples, **about}
        at += chapter.samples


def _put_cover(out: Any, cover: Cover | None) -> None:
    if cover is None:
        return
    import av
    from av.stream import Disposition

    try:
        with av.open(io.BytesIO(cover.data)) as picture:
            source = picture.streams.video[0]
            stream = out.add_stream_from_template(source)
            stream.disposition = Disposition.attached_pic
            for packet in picture.demux(source):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
                    return
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        say(f"warning: the cover cannot be read: {error}")


def m4b(path: Path) -> Target:
    """A book in one file, whose index stands before its sound, as those have it that are listened
    to over a network."""
    return Target(path, "mp4", "aac", 64_000, {"movflags": "+faststart", "brand": "M4B "})


def tags(book: Book, narrator: str | None) -> dict[str, str]:
    """What players show of a book."""
    found = {
        "title": book.title,
        "album": book.title,
        "artist": book.author,
        "album_artist": book.author,
        "composer": narrator,
        "genre": "Audiobook",
        "date": book.date and book.date[:10],
        "publisher": book.publisher,
        "description": book.description and book.description[:250],
        "language": book.language,
    }
    return {name: value for name, value in found.items() if value}


def of_chapter(tags: dict[str, str], chapter: Chapter, number: int, count: int) -> dict[str, str]:
    """What players show of a chapter that is a file."""
    return {**tags, "title": chapter.title, "track": f"{number}/{count}"}


def name(number: int, count: int, title: str) -> str:
    """A chapter's file without its suffix."""
    safe = re.sub(r"[^\w .,'()-]+", " ", title)
    return f"{number:0{len(str(count))}} {' '.join(safe.split())[:60].strip(' .')}".strip()


def playlist(files: Iterable[tuple[str, str, float]]) -> str:
    """An .m3u8 of files with their titles and seconds."""
    lines = ["#EXTM3U"]
    for file, title, seconds in files:
        lines += [f"#EXTINF:{round(seconds)},{title}", file]
    return "\n".join(lines) + "\n"
