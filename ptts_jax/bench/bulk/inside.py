"""inside.py HOW: one process of the measurement, in a process of its own. Prints what it measured.

It speaks a file of lines one by one, or as `ptts_jax.bulk` does, until the limit that follows from
the token count, whatever EOS says: the same number of frames either way.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import ptts_jax
from ptts_jax.bulk import cluster
from ptts_jax.bulk.asked import Asked
from ptts_jax.bulk.claims import Claims
from ptts_jax.bulk.job import Folder
from ptts_jax.bulk.lines import Settings
from ptts_jax.bulk.models import Models
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.reading import Source
from ptts_jax.bulk.speaking import Speaker
from ptts_jax.bulk.work import Work
from ptts_jax.engine.request import Options

NEVER = 1e9  # a threshold that no EOS logit passes
WARM = 24  # lines that are said before the clock starts
STEPS = 100  # lines between two looks at the memory


class Watched(Progress):
    """Notes what the process holds as the lines go by."""

    def __init__(self) -> None:
        super().__init__(None, quiet=True)
        self.memory: list[int] = []  # bytes

    def add(self, seconds: float, failed: bool) -> None:
        super().add(seconds, failed)
        if self.lines % STEPS == 0:
            self.memory.append(resident())


def resident() -> int:
    """Bytes that this process holds."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def main(how: dict[str, Any]) -> dict[str, Any]:
    """Speaks the lines of `how["lines"]`; {"audio", "begun", "ended", "memory"}."""
    if how["cores"]:
        os.sched_setaffinity(0, how["cores"])  # JAX counts them when it computes first
    ptts_jax.use_compilation_cache()
    source = Source(how["lines"], None)
    settings = Settings(Options(eos_threshold=NEVER), voice=how["voice"])
    if how["do"] == "ray":
        return _on_ray(source, settings, how)
    with Models(how["yaml"], **how["options"]) as models:
        if how["do"] == "stream":
            return _one_by_one(models, source, settings)
        return _bulk(models, source, settings, how)


def _one_by_one(models: Models, source: Source, settings: Settings) -> dict[str, Any]:
    tts = models.get().engine.tts
    [*shards] = source.shards(10**9)
    lines = list(source.parsed(shards[0], settings))
    samples, begun = 0, time.time()
    for number, line in enumerate(lines[:WARM] + lines):
        if number == WARM:
            samples, begun = 0, time.time()
        for block in tts.stream(line.text, line.voice, seed=0, eos_threshold=NEVER):
            samples += block.size
    ended = time.time()
    return {"audio": samples / tts.sample_rate, "begun": begun, "ended": ended, "memory": []}


def _bulk(
    models: Models, source: Source, settings: Settings, how: dict[str, Any]
) -> dict[str, Any]:
    speaker, progress = Speaker(models, ".flac"), Watched()
    warm = next(source.shards(WARM))
    speaker.speak(list(source.parsed(warm, settings)), lambda _: (0, 0), lambda *_: None)
    folder, job = Folder(how["out"]), {"shard": how["shard"], "format": "tar"}
    folder.begin(job)
    with Claims(folder.claims, 60.0) as claims:
        begun = time.time()
        Work(source, folder, job, settings, speaker, claims, progress).run()
        ended = time.time()
    return {"audio": progress.spoken, "begun": begun, "ended": ended, "memory": progress.memory}


def _on_ray(source: Source, settings: Settings, how: dict[str, Any]) -> dict[str, Any]:
    """By two actors, whose start counts too."""
    asked = Asked(how["lines"], how["out"], settings, how["yaml"], how["options"])
    job, progress = {"shard": how["shard"], "format": "tar"}, Watched()
    Folder(how["out"]).begin(job)
    with (
        cluster.connected("local"),
        asked.models() as models,
        asked.work(job, source, models, progress) as work,
    ):
        begun = time.time()
        cluster.run(work, asked, cluster.Plan(actors=2))
        ended = time.time()
    return {"audio": progress.spoken, "begun": begun, "ended": ended, "memory": []}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
