"""What the report speaks with, and its measurements: one model, many policies.

Yields results as they come; knows no flags, tables or files but the list of texts.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ptts_jax
from convert import flatten, unflatten
from int8 import QTensor
from int8.report import summarize
from ptts_jax import quantization, settings
from ptts_jax.drivers import Job
from ptts_jax.int8_report import speech as speech
from ptts_jax.int8_report.layers import LayerError, errors, format_label, quantized_leaves
from ptts_jax.int8_report.speech import Difference, Run, Setup
from ptts_jax.quantization import Int8
from ptts_jax.text import check_speakable, chunks
from ptts_jax.tts import TTS
from ptts_jax.voices import Voice

Params = dict[str, Any]

LAYER_TEXTS = 4  # whose activations the single layers are tried on
TEXTS = (
    "Hello there.",
    "It rained all night.",
    "Where did you put the keys?",
    "The kettle is on, and the bread is nearly done.",
    "Nobody had told the driver that the bridge was closed.",
    "Seven small boats went out this morning; six of them came back.",
    "If you listen closely, you can hear the sea from the kitchen window.",
    "Please leave your coat by the door, and come and sit down with us.",
    "She counted the coins twice, shook her head, and paid with a card.",
    "On the third day the wind turned, and the whole valley smelled of hay and smoke.",
    "What surprised him most was not the price, but how politely they asked for it.",
    "The library opens at nine, closes at six, and is never quite as quiet as it looks.",
    "Take the second road on the left, pass the old mill, and stop where the pavement ends.",
    "They argued about the map for an hour before anyone noticed that it was upside down.",
    "By evening the snow had covered the tracks, the fence, the garden, and most of the stairs.",
    "A good answer is short, a better one is true, and the best of all makes you ask again.",
)


FIGURES = tuple(f.name for f in fields(Difference) if f.name not in ("frames", "free_by_frame"))


@dataclass(frozen=True)
class Subject:
    """The float model and what it shall speak."""

    tts: TTS
    setup: Setup
    texts: tuple[str, ...]  # one for each utterance


def prepare(
    model: str,
    texts: str | None = None,
    voice: str | None = None,
    seed: int = 0,
    eos_threshold: float | None = None,
) -> Subject:
    """Load a model for a comparison; `texts` names a file. A long text is several utterances."""
    settings.check(eos_threshold=eos_threshold)
    lines = _lines(texts)
    say(f"reading {model} ...")
    tts = ptts_jax.load(model, quiet=False)
    if any(isinstance(leaf, QTensor) for leaf in flatten(tts.params).values()):
        raise ValueError(f"{model} is quantised already; give the float model")
    found = [
        (chunk, Job(chunk.tokens, chunk.frames_after_eos, chunk.max_frames, index, own))
        for own, line in enumerate(lines, start=seed)  # noise of its own for each text
        for index, chunk in enumerate(chunks(line, tts.tokenizer, tts.config))
    ]
    sampling = settings.sampling(tts.config, None, None, None, eos_threshold)
    setup = Setup(tts.config, _voice(tts, voice), tuple(job for _, job in found), sampling)
    return Subject(tts, setup, tuple(chunk.text for chunk, _ in found))


def _lines(path: str | None) -> Sequence[str]:
    """The texts; what is no text at all is refused before the work."""
    if path is None:
        return TEXTS
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ValueError(f"--texts {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"--texts {path}: not a text file; save it as UTF-8") from None
    lines = [line for line in lines if line]
    for line in lines:
        try:
            check_speakable(line)
        except ValueError as error:
            raise ValueError(f"--texts {path}: {line:.40}: {error}") from None
    if not lines:
        raise ValueError(f"--texts {path}: holds no text; write one a line")
    return lines


def _voice(tts: TTS, name: str | None) -> Voice:
    if name is not None or tts.released:
        return tts.voice(name)
    if not tts.voice_cloning:
        raise ValueError(f"{tts.name} has no voice of its own and cannot clone one; give --voice")
    say("no voice given: cloning a synthetic hum; for figures to trust give --voice")
    return tts.voice(_hum(tts.sample_rate))


def _hum(rate: int, seconds: float = 4.0) -> np.ndarray:
    """Something voiced: harmonics of a wandering pitch."""
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(8 * time)) / rate
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 6))).astype(np.float32)


def layers(subject: Subject, specs: Iterable[Int8]) -> list[LayerError]:
    """Every layer that any of the choices quantises, on what goes through it in a few texts."""
    params, setup = subject.tts.params, subject.setup
    few = replace(setup, jobs=setup.jobs[:LAYER_TEXTS])
    told = [run.latents for run in speech.free(params, few)]
    leaves = quantized_leaves(_on_host(params), specs)
    return errors(params, leaves, lambda: speech.forced(params, few, told))


def policies(subject: Subject, specs: Mapping[str, Int8]) -> Iterator[dict[str, Any]]:
    """A result for each choice: what it did to every utterance, and that summed up."""
    params, setup = subject.tts.params, subject.setup
    say(f"the float model speaks {len(setup.jobs)} texts ...")
    free = speech.free(params, setup)
    forced = speech.forced(params, setup, [run.latents for run in free])
    host = _on_host(params)
    for number, (name, spec) in enumerate(specs.items(), start=1):
        began = time.monotonic()
        yield _policy(params, host, setup, name, spec, forced, free)
        say(f"{number} of {len(specs)}: {name} ({time.monotonic() - began:.0f} s)")


def _on_host(params: Params) -> Params:
    """So that quantising compiles nothing."""
    return unflatten({name: np.asarray(leaf) for name, leaf in flatten(params).items()})


def _policy(
    params: Params,
    host: Params,
    setup: Setup,
    name: str,
    spec: Int8,
    forced: Sequence[Run],
    free: Sequence[Run],
) -> dict[str, Any]:
    tree, report = quantization.apply(host, spec)
    before, placed = flatten(host), flatten(params)  # what stays as it is, is where it was
    quantized = unflatten(
        {
            path: placed[path] if leaf is before[path] else jax.device_put(leaf)
            for path, leaf in flatten(tree).items()
        }
    )
    others = speech.forced(quantized, setup, [run.latents for run in free])
    pairs = zip(
        zip(forced, others, strict=True),
        zip(free, speech.free(quantized, setup), strict=True),
        strict=True,
    )
    texts = [asdict(speech.compare(setup, *pair)) for pair in pairs]
    return {
        "name": name,
        "groups": list(spec.groups),
        "format": format_label(spec),
        "megabytes": megabytes(quantized),
        "left": [list(item) for item in report.left],
        "summary": {
            figure: asdict(summarize([float(text[figure]) for text in texts])) for figure in FIGURES
        },
        "texts": texts,
    }


def megabytes(params: Params) -> float:
    return sum(leaf.nbytes for leaf in flatten(params).values()) / 1e6


def say(line: str) -> None:
    print(f"int8 report: {line}", file=sys.stderr)
