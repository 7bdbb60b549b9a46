"""What a command asks for, in plain values: all that a process needs to share its work, on this
machine or on another one that it is sent to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ptts_jax
from ptts_jax.bulk.claims import Claims
from ptts_jax.bulk.job import Folder
from ptts_jax.bulk.lines import Settings
from ptts_jax.bulk.models import Models
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.reading import Source
from ptts_jax.bulk.speaking import Speaker
from ptts_jax.bulk.work import Work
from ptts_jax.engine import startup


@dataclass(frozen=True)
class Asked:
    """A command, by its flags."""

    input: str
    out: str
    settings: Settings
    model: str
    load: dict[str, Any]  # for ptts_jax.load
    input_format: str | None = None
    audio: str = "flac"
    words: bool = False
    check: bool = False
    strict: bool = False
    lease: float = 120.0

    def source(self) -> Source:
        """The input."""
        return Source(self.input, self.input_format, self.settings.keep)

    def models(self) -> Models:
        """What speaks; a context manager."""
        startup.use_one_heap()
        ptts_jax.use_compilation_cache()
        return Models(self.model, self.words or self.check, **self.load)

    @contextmanager
    def work(
        self, job: dict[str, Any], source: Source, models: Models, progress: Progress
    ) -> Iterator[Work]:
        """A process's share of the job, to whom it belongs while the block lasts."""
        folder = Folder(self.out)
        speaker = Speaker(models, f".{self.audio}", self.words, self.check)
        with Claims(folder.claims, self.lease) as claims:
            how = source, folder, job, self.settings, speaker, claims, progress
            yield Work(*how, strict=self.strict)
