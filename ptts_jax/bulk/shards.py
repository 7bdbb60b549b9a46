"""A shard on disk: the audio of its lines in one file or one each, and an object for each line.

A shard's audio files are gathered in one file without a name, which is gone with its process, and
then written in the order of the lines: memory stays small, and the same lines give the same shard.
"""

import hashlib
import importlib.util
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptts_jax.audio.writing import plain_words

FORMATS = ("tar", "parquet", "folder")
ROWS = 64  # of a Parquet file that are written at once
Place = tuple[int, int]  # of a file among others: where it begins, and its size
Record = dict[str, Any]


@dataclass(frozen=True)
class Spoken:
    """What became of a line: its object in the index, and where its audio is, if there is any."""

    record: Record
    place: Place | None = None


class Spool(AbstractContextManager):
    """Audio files that wait until their shard is whole; `with` drops them in the end."""

    def __init__(self, folder: Path) -> None:
        self._name = str(folder)
        with plain_words(self._name):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def put(self, data: bytes) -> Place:
        """Keeps a file."""
        with plain_words(self._name):
            at = self._file.seek(0, io.SEEK_END)
            self._file.write(data)
            self._file.flush()  # a full disk is noticed at once
        return at, len(data)

    def get(self, place: Place) -> bytes:
        """A file that was kept."""
        self._file.seek(place[0])
        return self._file.read(place[1])


def check(format: str) -> None:
    """Refuse a format that cannot be written here."""
    if format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ValueError("--format parquet: run pip install 'ptts_jax[bulk]'")


def write(format: str, folder: Path, spoken: Sequence[Spoken], get: Callable) -> None:
    """A shard's audio and its index; `get` gives the audio of a place."""
    with plain_words(str(folder)):
        _WRITERS[format](folder, [one for one in spoken if one.place is not None], get)
        with (folder / "index.jsonl").open("w", encoding="utf-8") as index:
            for one in spoken:
                index.write(as_json(one.record) + "\n")


def as_json(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False)


def index(folder: Path) -> Iterator[Record]:
    """The objects of a shard that is done."""
    path = folder / "index.jsonl"
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise ValueError(f"{path}: line {number} is damaged") from None


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a shard but shard.json, which keeps them."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != "shard.json":
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _write_folder(folder: Path, spoken: Sequence[Spoken], get: Callable) -> None:
    for one in spoken:
        (folder / one.record["audio"]).write_bytes(get(one.place))


def _write_tar(folder: Path, spoken: Sequence[Spoken], get: Callable) -> None:
    """As WebDataset has it: files of one sample have one name and are neighbours."""
    with tarfile.open(folder / "audio.tar", "w") as tar:
        for one in spoken:
            about = as_json(one.record).encode()
            files = {one.record["audio"]: get(one.place), f"{one.record['id']}.json": about}
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_parquet(folder: Path, spoken: Sequence[Spoken], get: Callable) -> None:
    """As Hugging Face's datasets have it: a column of sound, and the rest beside it."""
    import pyarrow as pa
    from pyarrow import parquet

    sound = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    plain = {"id": "string", "text": "string", "voice": "string", "duration": "float64"}
    columns = [pa.field(name, kind) for name, kind in plain.items()]
    columns += [pa.field("audio", sound), pa.field("record", pa.string())]
    features = {name: {"_type": "Value", "dtype": kind} for name, kind in plain.items()}
    features |= {"audio": {"_type": "Audio"}, "record": {"_type": "Value", "dtype": "string"}}
    schema = pa.schema(columns, {"huggingface": json.dumps({"info": {"features": features}})})
    with parquet.ParquetWriter(folder / "audio.parquet", schema) as out:
        for at in range(0, len(spoken), ROWS):
            rows = [
                {
                    **{name: one.record.get(name) for name in plain},
                    "audio": {"bytes": get(one.place), "path": one.record["audio"]},
                    "record": as_json(one.record),
                }
                for one in spoken[at : at + ROWS]
            ]
            out.write_table(pa.Table.from_pylist(rows, schema))


_WRITERS = {"tar": _write_tar, "parquet": _write_parquet, "folder": _write_folder}
