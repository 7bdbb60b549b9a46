"""After the work: are all shards there and sound, and one index of all of them."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ptts_jax.audio.writing import plain_words
from ptts_jax.bulk import shards
from ptts_jax.bulk.job import Folder
from ptts_jax.messages import say
from ptts_jax.store.paths import atomic_write


@dataclass
class Found:
    """What is in a folder."""

    shards: int = 0
    lines: int = 0
    failed: int = 0
    seconds: float = 0.0
    missing: list[int] = field(default_factory=list)  # shards
    damaged: list[tuple[int, str]] = field(default_factory=list)
    twice: int = 0  # ids that several lines have

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.lines:,} lines{failed}, {self.seconds / 3600:.2f} h of audio"


def count(folder: Folder) -> Found:
    """What shard.json of every shard tells, and which shards are missing."""
    job, done = _job(folder), folder.done()
    found, last = Found(), job.get("lines") and -(-job["lines"] // job["shard"]) - 1
    for number in sorted(done):
        about = folder.about(number)
        found.shards += 1
        found.lines += about["lines"]
        found.failed += about["failed"]
        found.seconds += about["seconds"]
        last = number if about["last"] else last
    if last is None:  # of an input whose end was not seen
        last = max(done, default=-1) + 1
    found.missing = [number for number in range(last + 1) if number not in done]
    return found


def verify(folder: Folder) -> Found:
    """Reads all files and looks whether they are what was written. Damaged shards are set aside, so
    that the same command makes them anew."""
    _job(folder)
    found = Found()
    ids: Counter[bytes] = Counter()
    for number in sorted(folder.done()):
        try:
            for record in _sound(folder, number):
                if "id" in record:
                    ids[hashlib.blake2b(record["id"].encode(), digest_size=8).digest()] += 1
        except (ValueError, OSError, KeyError) as error:
            found.damaged.append((number, str(error) or type(error).__name__))
            folder.set_aside(number)
            say(f"damaged: {folder.shard(number).name}: {found.damaged[-1][1]}")
    counted = count(folder)
    counted.damaged = found.damaged
    counted.twice = sum(times - 1 for times in ids.values())
    return counted


def _sound(folder: Folder, number: int) -> Iterator[dict[str, Any]]:
    """The objects of a shard, if all of its files are as they were written."""
    path, about = folder.shard(number), folder.about(number)
    found, written = shards.digests(path), about["files"]
    for name in sorted(written.keys() | found.keys()):
        if name not in found:
            raise ValueError(f"{name} is missing")
        if name not in written:
            raise ValueError(f"{name} does not belong to it")
        if found[name] != written[name]:
            raise ValueError(f"{name} is not what was written")
    records = list(shards.index(path))
    if len(records) != about["lines"]:
        raise ValueError(f"{len(records)} lines in its index, {about['lines']} were spoken")
    yield from records


def merge(folder: Folder) -> None:
    """Writes index.jsonl with the objects of all shards, each with the name of its shard."""
    target = folder.path / "index.jsonl"
    with (
        plain_words(str(target)),
        atomic_write(target) as part,
        part.open("w", encoding="utf-8") as out,
    ):
        for number in sorted(folder.done()):
            path = folder.shard(number)
            for record in shards.index(path):
                out.write(shards.as_json({"shard": path.name, **record}) + "\n")


def _job(folder: Folder) -> dict[str, Any]:
    job = folder.job()
    if job is None:
        raise ValueError(f"{folder.path}: there is no job in it")
    return job
