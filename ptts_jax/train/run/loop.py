"""The training loop, the same for every stage: batches in, steps, log, validation, checkpoints.

A run is a function of its stage and its seed: batches and random keys depend on the step alone, so
a run that was interrupted ends where an uninterrupted one does. Data parallel over the devices:
the batch is split along its first axis, the state is on each of them. Knows nothing of models.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import struct
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ptts_jax.engine import startup
from ptts_jax.messages import say
from ptts_jax.train.run import checkpoint, log

State = Any  # any pytree of arrays: parameters, their average, optimiser states
Batch = Any  # any pytree of numpy arrays [B, ...]


@struct.dataclass
class Progress:
    """Where a run is. The length is an argument of a compiled step: a longer run compiles none."""

    step: Array  # [] int32
    steps: Array  # [] int32: of the whole run


@dataclass(frozen=True)
class Stage:
    """What a kind of training is made of."""

    name: str
    init: Callable[[Array], State]  # from a random key
    # (state, batch, key, progress) -> (state, figures); pure: jitted and sharded here
    update: Callable[[State, Batch, Array, Progress], tuple[State, dict[str, Array]]]
    batch: Callable[[int], Batch]  # of a step, and of nothing else
    validate: Callable[[State], dict[str, float]] | None = None
    # Written into the checkpoint as JSON. "flags" in it are those that a run cannot change by
    # accident when it goes on.
    meta: Mapping[str, Any] = field(default_factory=dict)


def run(
    stage: Stage,
    *,
    out: Path,
    steps: int,
    seed: int,
    save_minutes: float = 5.0,
    validate_every: int = 500,
    log_every: int = 20,
    devices: Sequence[jax.Device] | None = None,
    quiet: bool = False,
    accept_changes: bool = False,
) -> State:
    """Train up to `steps` in all, from the checkpoint in `out` if there is one.

    `accept_changes` lets a run go on with other flags than it was begun with.
    """
    startup.keep_freed_memory()
    devices = list(devices or jax.devices())
    mesh = Mesh(np.array(devices), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    update = jax.jit(stage.update, donate_argnums=0, out_shardings=everywhere)
    meta = {"stage": stage.name, "seed": seed, **stage.meta}
    state, step = _start(stage, out, seed, quiet, accept_changes)
    state = jax.device_put(state, everywhere)
    key = jax.random.key(seed + 1)
    log.restart(out, step)

    waiting: list[dict[str, Array]] = []  # figures since the last entry, still on the device
    saved, since, done = step, time.monotonic(), step
    last_save = since
    with _stop_signals() as stop, ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(stage.batch, step)
        while step < steps and not stop.is_set():
            batch = _divisible(upcoming.result(), len(devices))
            upcoming = pool.submit(stage.batch, step + 1)
            placed = jax.device_put(batch, split)
            draw = jax.random.fold_in(key, step)
            progress = Progress(np.int32(step), np.int32(steps))
            state, figures = update(state, placed, draw, progress)
            waiting.append(figures)
            step += 1

            if step % log_every == 0 or step == steps:
                means = _means(waiting)  # waits for the device
                _check_finite(stage, out, step, saved, means)
                now = time.monotonic()
                means["ms_per_step"] = 1000 * (now - since) / (step - done)
                since, done = now, step
                log.append(out, step, means)
                if not quiet:
                    log.progress(stage.name, step, steps, means)
            if stage.validate and (step % validate_every == 0 or step == steps):
                means = stage.validate(state)
                log.append(out, step, means)
                if not quiet:
                    log.progress(f"{stage.name} validation", step, steps, means)
                since, done = time.monotonic(), step
            if time.monotonic() - last_save > 60 * save_minutes:
                checkpoint.save(out, state, step, meta)
                saved, last_save = step, time.monotonic()
        upcoming.cancel()
    if step != saved or not checkpoint.exists(out):
        checkpoint.save(out, state, step, meta)
    if stop.is_set():
        raise KeyboardInterrupt(f"saved step {step} in {out}; the same command goes on from there")
    return state


def _start(
    stage: Stage, out: Path, seed: int, quiet: bool, accept_changes: bool
) -> tuple[State, int]:
    key = jax.random.key(seed)
    if not checkpoint.exists(out):
        out.mkdir(parents=True, exist_ok=True)
        return jax.jit(stage.init)(key), 0
    meta = checkpoint.describe(out)
    if meta.get("stage") != stage.name or meta.get("seed") != seed:
        was = f"{meta.get('stage')} with seed {meta.get('seed')}"
        raise ValueError(f"{out}: holds a run of {was}; give another folder or that seed")
    if (changes := _changes(meta, stage.meta)) and not accept_changes:
        raise ValueError(
            f"{out}: was begun with other flags ({', '.join(changes)}); give the old ones, another "
            "folder, or --accept_changes to go on with the new ones"
        )
    state, step, _ = checkpoint.load(out, jax.eval_shape(stage.init, key))
    if not quiet:
        say(f"{stage.name}: going on from step {step} in {out}")
    return state, step


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two runs' flags differ in. A checkpoint of before flags were kept has none."""
    before, after = (json.loads(json.dumps(meta.get("flags", {}))) for meta in (old, new))

    def shown(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)

    return [
        f"--{name}={shown(after[name])}, was {shown(before[name])}"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]


def _divisible(batch: Batch, parts: int) -> Batch:
    rows = {leaf.shape[0] for leaf in jax.tree.leaves(batch)}
    if any(count % parts for count in rows):
        raise ValueError(f"batch of {min(rows)}: must be a multiple of the {parts} devices")
    return batch


def _means(waiting: list[dict[str, Array]]) -> dict[str, float]:
    """The mean of each figure, over the steps that have it; empties the list."""
    each: dict[str, list[float]] = {}
    for figures in jax.device_get(waiting):
        for name, value in figures.items():
            each.setdefault(name, []).append(float(value))
    waiting.clear()
    return {name: sum(values) / len(values) for name, values in each.items()}


def _check_finite(stage: Stage, out: Path, step: int, saved: int, means: dict[str, float]) -> None:
    wrong = [name for name, value in means.items() if not math.isfinite(value)]
    if wrong:
        raise ValueError(
            f"{stage.name}: {wrong[0]} is no number any more at step {step}; {out} keeps step "
            f"{saved}; try a lower learning rate"
        )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: a step is never cut in half. A second one kills."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def handle(*_: Any) -> None:
        stop.set()
        for kind in kinds:
            signal.signal(kind, before[kind])

    for kind in kinds:
        signal.signal(kind, handle)
    try:
        yield stop
    finally:
        for kind in kinds:
            signal.signal(kind, before[kind])
