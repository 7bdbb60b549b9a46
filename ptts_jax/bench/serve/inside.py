"""Whether load changes what a request sounds like: measured inside the engine's own process.

Runs in the worker of the benchmark.
"""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ptts_jax.bench.models import LONG
from ptts_jax.bench.statistics import snr_db
from ptts_jax.engine.service import Engine

NEVER = 1e9  # a threshold that no EOS logit passes
LISTENERS = 10  # threads, more than there are slots


def alike(tts: Any, voice: Any, count: int) -> dict[str, Any]:
    """So many random requests, alone and under load: how many are the same to the last bit, how
    many have as many frames, and the lowest signal-to-noise ratio in dB."""
    requests = [_request(random.Random(number)) for number in range(count)]
    alone = [tts.generate(text, voice, **options) for text, options in requests]

    def listen(number: int) -> np.ndarray:
        text, options = requests[number]
        with engine.submit(text, voice, live=number % 3 > 0, **options) as speech:
            return np.concatenate([np.zeros(0, np.float32), *speech])

    with Engine(tts) as engine, ThreadPoolExecutor(LISTENERS) as pool:
        heard = list(pool.map(listen, range(count)))
    frames = [number for number in range(count) if heard[number].shape == alone[number].shape]
    ratios = [snr_db(alone[number], heard[number]) for number in frames]
    same = sum(np.array_equal(alone[number], heard[number]) for number in frames)
    seconds = sum(wave.size for wave in alone) / tts.sample_rate
    found = {"requests": count, "same": same, "frames": len(frames), "snr": min(ratios, default=0)}
    return found | {"seconds": seconds, "longest": max(map(len, alone)) / tts.sample_rate}


def _request(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """Mostly a few words; one in ten is long."""
    words = " ".join(LONG).split()
    count = rng.randrange(60, 120) if rng.random() < 0.1 else rng.randrange(2, 12)
    at = rng.randrange(len(words) - count)
    options = {"seed": rng.randrange(1 << 30), "temperature": rng.choice([0.0, 0.3, 0.7])}
    return " ".join(words[at : at + count]), options | {"eos_threshold": NEVER}
