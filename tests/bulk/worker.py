"""worker.py INPUT OUT SECONDS: a process that makes the shards of a folder as the command does, but
says every line in SECONDS, and without a model. What it says is noted in spoken.log."""

import hashlib
import sys
import time
from pathlib import Path

from ptts_jax.bulk import work
from ptts_jax.bulk.claims import Claims
from ptts_jax.bulk.job import Folder
from ptts_jax.bulk.lines import Settings
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.reading import Source
from ptts_jax.bulk.shards import Spoken
from ptts_jax.bulk.work import Work

SHARD = 5


class Speaker:
    """Stands where bulk.speaking.Speaker stands."""

    def __init__(self, log: Path, seconds: float) -> None:
        self._log = log
        self._seconds = seconds

    def speak(self, lines, keep, tell):
        spoken = []
        for line in lines:
            time.sleep(self._seconds)
            with self._log.open("a") as log:
                log.write(f"{line.number}\n")
            data = line.text.encode() * 100
            record = {"id": f"n{line.number}", "line": line.number, "text": line.text}
            record |= {"audio": f"n{line.number}.flac", "duration": 1.0}
            record["sha256"] = hashlib.sha256(data).hexdigest()
            spoken.append(Spoken(record, keep(data)))
            tell(line, spoken[-1])
        return spoken


def run(source: Source, folder: Folder, log: Path, seconds: float, lease: float = 60.0) -> int:
    """Makes all shards; how many lines there are."""
    job = {"shard": SHARD, "format": "tar", "lines": None}
    folder.begin(job)
    work.WAITS = 0.01
    with Claims(folder.claims, lease) as claims:
        progress = Progress(None, quiet=True)
        settings = Settings()
        return Work(source, folder, job, settings, Speaker(log, seconds), claims, progress).run()


if __name__ == "__main__":
    source, out = Source(sys.argv[1], None), Folder(sys.argv[2])
    print("ready", flush=True)
    run(source, out, Path("spoken.log"), float(sys.argv[3]))
