"""An output folder: what it is for, and which shards are done.

    job.json           what the audio follows from; a folder is of one job
    shard-000012/      the audio, index.jsonl with an object for each line, and shard.json
    .claims/           who makes which shard (see claims.py)
    .unfinished/       shards that are being made

A shard is made elsewhere and renamed, which fails where there is one already: it is there whole,
once, or not at all, whatever was killed when.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptts_jax.audio.writing import plain_words
from ptts_jax.store.paths import atomic_write

_NAMES = {  # of what a job follows from, for whoever asks with another
    "input": "the input",
    "lines": "the number of lines",
    "shard": "--shard",
    "revision": "the model's weights",
}


class Taken(Exception):
    """A shard that was being made was given up for dead: another process makes it now."""


class Folder:
    """The output folder of a job."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.claims = self.path / ".claims"
        self._unfinished = self.path / ".unfinished"
        self._job = self.path / "job.json"

    def job(self) -> dict[str, Any] | None:
        """What the folder is for; None as long as it is for nothing."""
        try:
            job = json.loads(self._job.read_text(encoding="utf-8"))
            if not isinstance(job, dict):
                raise ValueError
            return job
        except FileNotFoundError:
            pass
        except ValueError:
            raise ValueError(f"{self._job}: damaged; name another folder") from None
        except OSError as error:
            raise ValueError(f"{self._job}: {error.strerror}; name another folder") from None
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path}: it is a file; name a folder")
        if self.path.is_dir() and any(not name.startswith(".") for name in os.listdir(self.path)):
            raise ValueError(f"{self.path}: it holds other things; name a new folder")
        return None

    def check(self, wanted: dict[str, Any]) -> None:
        """Refuse a folder of a job that differs in any of these."""
        job = self.job()
        for name, value in wanted.items():
            if job is not None and name in job and job[name] != value:
                named = _NAMES.get(name, f"--{name}")
                was, now = (json.dumps(x, ensure_ascii=False) for x in (job[name], value))
                said = f"it holds another job: {named} was {was}, and is {now} now"
                raise ValueError(f"{self.path}: {said}; name another folder")

    def begin(self, job: dict[str, Any]) -> None:
        """Makes this the folder of a job, if it is not already."""
        self.check(job)
        if self.job() is None:
            with plain_words(str(self.path)):
                self.path.mkdir(parents=True, exist_ok=True)
                with atomic_write(self._job) as part:
                    part.write_text(json.dumps(job, ensure_ascii=False, indent=1) + "\n", "utf-8")
        self.check(job)  # another process may have begun another one

    def shard(self, number: int) -> Path:
        """Where a shard is, once it is done."""
        return self.path / f"shard-{number:06}"

    def done(self) -> set[int]:
        """The shards that are done."""
        try:
            names = [entry.name for entry in os.scandir(self.path)]
        except FileNotFoundError:
            return set()
        return {int(name[6:]) for name in names if re.fullmatch(r"shard-\d{6,}", name)}

    def about(self, number: int) -> dict[str, Any]:
        """What shard.json tells of a shard that is done."""
        path = self.shard(number) / "shard.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ValueError(f"{path}: damaged; delete its folder, and it is made again") from None

    @contextmanager
    def making(self, number: int) -> Iterator[Path]:
        """A folder that becomes the shard when the block ends well; where another process was
        quicker it is dropped."""
        with plain_words(str(self.path)):
            self._unfinished.mkdir(exist_ok=True)
            for left in self._unfinished.glob(f"{number:06}-*"):  # by a dead owner
                shutil.rmtree(left, ignore_errors=True)
            part = self._unfinished / f"{number:06}-{secrets.token_hex(4)}"
            part.mkdir()
        try:
            yield part
            with plain_words(str(self.shard(number))):
                for file in part.iterdir():
                    _sync(file)
                _sync(part)
                try:
                    part.rename(self.shard(number))
                except OSError:
                    if not self.shard(number).is_dir():
                        raise
                _sync(self.path)
        except (OSError, ValueError):
            if part.exists():
                raise
            raise Taken from None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def set_aside(self, number: int) -> None:
        """Takes a damaged shard away, so that it is made again."""
        self._unfinished.mkdir(exist_ok=True)
        self.shard(number).rename(self._unfinished / f"damaged-{number:06}-{secrets.token_hex(4)}")


def _sync(path: Path) -> None:
    """Has the disk keep a file, or what a folder names."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
