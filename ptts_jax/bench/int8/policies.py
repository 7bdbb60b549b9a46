"""The report's measurements: single layers, and many policies on the same utterances.

Yields results as they come; knows no flags, tables or files.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np

from convert import flatten, unflatten
from ptts_jax.bench.int8 import speech
from ptts_jax.bench.int8.layers import Policy, errors, quantized_leaves
from ptts_jax.bench.int8.speech import Run, Setup
from ptts_jax.bench.int8.subject import Subject
from ptts_jax.bench.statistics import summarize
from ptts_jax.messages import say
from ptts_jax.model.pytree import Params

LAYER_TEXTS = 4  # whose activations the single layers are tried on


def layers(subject: Subject, choices: Iterable[Policy]) -> list[dict[str, Any]]:
    """Every layer that any of the choices quantises, on what goes through it in a few texts."""
    params, setup = subject.tts.params, subject.setup
    few = replace(setup, jobs=setup.jobs[:LAYER_TEXTS])
    told = [run.latents for run in speech.free(params, few)]
    leaves = quantized_leaves(_on_host(params), choices)
    return errors(params, leaves, lambda: speech.forced(params, few, told))


def policies(subject: Subject, choices: Mapping[str, Policy]) -> Iterator[dict[str, Any]]:
    """A result for each choice: what it did to every utterance, and that summed up."""
    params, setup = subject.tts.params, subject.setup
    say(f"the float model speaks {len(setup.jobs)} texts ...")
    free = speech.free(params, setup)
    forced = speech.forced(params, setup, [run.latents for run in free])
    for number, (name, choice) in enumerate(choices.items(), start=1):
        began = time.monotonic()
        yield {"name": name, **policy(params, setup, choice, forced, free)}
        say(f"{number} of {len(choices)}: {name} ({time.monotonic() - began:.0f} s)")


def policy(
    params: Params, setup: Setup, choice: Policy, forced: Sequence[Run], free: Sequence[Run]
) -> dict[str, Any]:
    """What a choice does, against the float model's runs."""
    host, placed = flatten(_on_host(params)), flatten(params)
    tree, report = choice.apply(unflatten(host))
    changed = {
        path: placed[path] if leaf is host[path] else jax.device_put(leaf)
        for path, leaf in flatten(tree).items()
    }
    quantized = unflatten(changed)
    others = speech.forced(quantized, setup, [run.latents for run in free])
    told = zip(forced, others, strict=True)
    freely = zip(free, speech.free(quantized, setup), strict=True)
    texts = [speech.compare(setup, *pair) for pair in zip(told, freely, strict=True)]
    figures = [name for name in texts[0] if name not in ("frames", "free_by_frame")]
    return {
        "groups": list(choice.spec.groups),
        "format": choice.label,
        "megabytes": megabytes(quantized),
        "left": [list(item) for item in report.left],
        "summary": {
            name: asdict(summarize([float(text[name]) for text in texts])) for name in figures
        },
        "texts": texts,
    }


def _on_host(params: Params) -> Params:
    """So that quantising compiles nothing."""
    return unflatten({name: np.asarray(leaf) for name, leaf in flatten(params).items()})


def megabytes(params: Params) -> float:
    return sum(leaf.nbytes for leaf in flatten(params).values()) / 1e6
