"""One shard after the other, until all of them are done, by this process or by others."""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptts_jax.audio.writing import plain_words
from ptts_jax.bulk import shards
from ptts_jax.bulk.claims import Claims
from ptts_jax.bulk.job import Folder, Taken
from ptts_jax.bulk.lines import Line, Settings
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.reading import Shard, Source
from ptts_jax.bulk.shards import Spoken, Spool
from ptts_jax.messages import say

if TYPE_CHECKING:
    from ptts_jax.bulk.speaking import Speaker

LOOKS = 10.0  # seconds after which it looks again what others have done
WAITS = 1.0  # seconds between two looks at what others still make


@dataclass
class Work:
    """What a process does in a folder."""

    source: Source
    folder: Folder
    job: dict[str, Any]  # as job.json has it
    settings: Settings
    speaker: "Speaker"
    claims: Claims
    progress: Progress
    strict: bool = False

    def __post_init__(self) -> None:
        self._looked, self._done = 0.0, set[int]()
        self._ours = set[int]()

    def run(self) -> int:
        """Makes every shard that nobody else makes; waits for the others, and takes over those of
        the dead. How many lines there are in all."""
        size, lines = self.job["shard"], 0
        while True:
            left, begun, made = False, time.monotonic(), len(self._ours)
            for shard in self.source.shards(size):
                lines = shard.number * size + len(shard.contents)
                left |= not self.see_to(shard)
            if not left:
                return lines
            self.progress.show()
            looked = time.monotonic() - begun if len(self._ours) == made else 0.0
            time.sleep(max(WAITS, looked))  # many shards take long to look at: as long a rest

    def see_to(self, shard: Shard) -> bool:
        """Makes a shard unless it is done or another process makes it; whether it is done."""
        while not self.is_done(shard):
            with plain_words(str(self.folder.claims)):
                taken = self.claims.take(shard.number)
            if taken:
                try:
                    if not self.folder.shard(shard.number).exists():  # since we looked
                        self._make(shard)
                        self._ours.add(shard.number)
                    self._done.add(shard.number)
                    return True
                except Taken:
                    pass  # we slept for longer than a lease
                finally:
                    self.claims.release(shard.number)
            if not self.source.once:
                return False
            time.sleep(WAITS)  # what was read of it cannot be read again
        return True

    def is_done(self, shard: Shard) -> bool:
        """Whether there is nothing left to do for a shard, as far as one knows."""
        if time.monotonic() - self._looked > LOOKS or self.source.once:
            self._look()
        if shard.number not in self._done:
            return False
        if self.source.once and self.folder.about(shard.number)["digest"] != shard.digest():
            first = shard.contents[0][0]
            said = f"from line {first} on {self.source.name} differs from what it was made of"
            raise ValueError(f"{self.folder.path}: {said}; name another folder")
        return True

    def _look(self) -> None:
        self._done = self.folder.done()
        lines = len(self._done - self._ours) * self.job["shard"]
        total = self.progress.total
        self.progress.others(lines if total is None else min(lines, total))
        self._looked = time.monotonic()

    def _make(self, shard: Shard) -> None:
        lines = list(self.source.parsed(shard, self.settings))
        with self.folder.making(shard.number) as part, Spool(part) as spool:
            spoken = self.speaker.speak(lines, spool.put, self._tell)
            wrong = [one for one in spoken if "error" in one.record]
            shards.write(self.job["format"], part, spoken, spool.get)
            about = {
                "lines": len(spoken),
                "failed": len(wrong),
                "seconds": round(sum(one.record.get("duration", 0.0) for one in spoken), 3),
                "digest": shard.digest(),
                "last": shard.last,
            }
            with plain_words(str(part)):
                about["files"] = shards.digests(part)
                (part / "shard.json").write_text(json.dumps(about) + "\n", "utf-8")

    def _tell(self, line: Line, spoken: Spoken) -> None:
        error = spoken.record.get("error")
        if error is not None and self.strict:
            raise ValueError(f"{self.source.name}: line {line.number}: {error}")
        self.progress.add(spoken.record.get("duration", 0.0), error is not None)
        if error is not None and self.progress.failed <= 3:
            say(f"warning: line {line.number}: {error}")
