"""The same shards on a Ray cluster: Ray Data says where and when, and begins again what was lost.

An actor holds a model and cores of its own, and makes shards as any process does: claimed, and
published once (see job.py), so that other processes may share the folder. Input, output, models and
the cache of what is compiled lie where all nodes see them.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ptts_jax.bulk.asked import Asked
from ptts_jax.bulk.progress import Progress
from ptts_jax.bulk.reading import Shard
from ptts_jax.bulk.work import WAITS, Work

WINDOW = 2000  # shards that Ray is given at a time: it holds their lines


@dataclass(frozen=True)
class Plan:
    """How a cluster is used."""

    actors: int | None = None  # at most; as many as there is room for
    cores: int = 1  # of an actor


class Maker:
    """An actor of Ray Data: shards in, what was done for them out."""

    def __init__(self, asked: Asked, job: dict[str, Any], cores: int) -> None:
        self._cores = take_cores(cores)
        self._progress = Progress(None, quiet=True)
        self._stack = ExitStack()
        models = self._stack.enter_context(asked.models())
        share = asked.work(job, asked.source(), models, self._progress)
        self._work: Work = self._stack.enter_context(share)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        before, wrong = self._counts(), ""
        try:
            for shard in batch["shard"]:
                self._work.see_to(shard)
        except ValueError as error:  # the user's mistake, which Ray would wrap
            wrong = str(error)
        done = [after - was for after, was in zip(self._counts(), before, strict=True)]
        return {"done": [done], "wrong": [wrong]}

    def _counts(self) -> tuple[int, int, float]:
        return self._progress.lines, self._progress.failed, self._progress.spoken


def run(work: Work, asked: Asked, plan: Plan) -> int:
    """Makes all shards on the cluster that this process is connected to. How many lines there are
    in all."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # progress is ours to tell
    room = int(ray.cluster_resources().get("CPU", 1)) // plan.cores
    actors = min(plan.actors or room, room)
    if actors < 1:
        raise ValueError(f"--ray_cores {plan.cores}: no node of the cluster has so many")
    lines, left = 0, True
    while left:
        left = False
        for window in _windows(work):
            lines = window[-1].number * work.job["shard"] + len(window[-1].contents)
            missing = [shard for shard in window if not work.is_done(shard)]
            left |= bool(missing)
            _make(missing, asked, work, plan, actors)
        if left:
            time.sleep(WAITS)
    return lines


def _windows(work: Work) -> Iterator[list[Shard]]:
    shards = work.source.shards(work.job["shard"])
    while window := list(islice(shards, WINDOW)):
        yield window


def _make(missing: list[Shard], asked: Asked, work: Work, plan: Plan, actors: int) -> None:
    import ray

    if not missing:
        return
    rows = [{"shard": shard} for shard in missing]
    most = min(actors, len(rows))
    # A shard takes a minute: one that waits at a busy actor would keep another one idle.
    pool = ray.data.ActorPoolStrategy(
        min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=1
    )
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Maker,
        fn_constructor_args=(asked, work.job, plan.cores),
        batch_size=1,
        compute=pool,
        num_cpus=plan.cores,  # actors that are lost are begun again, and their shards too
    )
    for row in done.iter_rows():
        if row["wrong"]:
            raise ValueError(row["wrong"])
        lines, failed, seconds = row["done"]
        work.progress.more(int(lines), int(failed), float(seconds))


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Within a cluster: `local` is one on this machine, `auto` the one that it is part of, others
    are a HOST:PORT; None is none. Before JAX computes, since Ray starts processes."""
    if address is None:
        yield
        return
    import ray

    if ray.is_initialized():  # by whoever calls this
        yield
        return
    where: dict[str, Any] = {"address": address}
    if address == "local":
        # Reading takes a processor too: with none beside the actors nothing would ever begin.
        where |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        where |= {"num_cpus": 1 + (os.cpu_count() or 1)}
    try:
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"--ray {address}: there is no cluster: {said}") from None
    try:
        yield
    finally:
        ray.shutdown()


def take_cores(count: int, folder: Path | None = None) -> list[Any]:
    """Keeps this process on cores that no other actor of this machine has. They are its own as long
    as what is returned is held, and free when the process ends, however it ends."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    import fcntl

    folder = folder or Path(tempfile.gettempdir()) / f"ptts_jax-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    held: dict[int, Any] = {}
    for core in sorted(os.sched_getaffinity(0)):
        file = (folder / str(core)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        held[core] = file
        if len(held) == count:
            os.sched_setaffinity(0, held)
            return list(held.values())
    for file in held.values():  # more actors than cores: they share all of them
        file.close()
    return []
