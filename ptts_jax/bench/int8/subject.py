"""What the report speaks with: a float model, a voice, and texts as utterances."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import ptts_jax
from convert import flatten
from int8 import QTensor
from ptts_jax import bundled
from ptts_jax.bench.int8.speech import Setup
from ptts_jax.engine.request import Job, Options
from ptts_jax.engine.voices import Voice
from ptts_jax.messages import say
from ptts_jax.model.pytree import Params
from ptts_jax.store.quantization import of_vocoder
from ptts_jax.text import check_speakable, chunks
from ptts_jax.tts import TTS

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
    """Load a model for a comparison; `texts` names a file."""
    some = TEXTS if texts is None else lines(texts, "--texts")
    say(f"reading {model} ...")
    tts = ptts_jax.load(model, quiet=False)
    if is_quantized(tts.params):
        raise ValueError(f"{model} is quantised already; give the float model")
    return speaking(tts, some, _voice(tts, voice), seed, eos_threshold)


def speaking(
    tts: TTS,
    texts: Sequence[str],
    voice: Voice,
    seed: int = 0,
    eos_threshold: float | None = None,
) -> Subject:
    """These texts by a model that is loaded. A long one is several utterances."""
    sampling = Options(eos_threshold=eos_threshold).sampling(tts.config)
    spoken = [
        (chunk, Job(chunk.tokens, chunk.frames_after_eos, chunk.max_frames, index, seed, sampling))
        for seed, line in enumerate(texts, start=seed)  # noise of its own for each text
        for index, chunk in enumerate(chunks(line, tts.tokenizer, tts.config))
    ]
    jobs = tuple(job for _, job in spoken)
    setup = Setup(tts.config, voice, jobs)
    return Subject(tts, setup, tuple(chunk.text for chunk, _ in spoken))


def lines(path: str, flag: str) -> Sequence[str]:
    """The texts of a file, one a line; what is no text at all is refused before the work."""
    try:
        found = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ValueError(f"{flag} {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{flag} {path}: not a text file; save it as UTF-8") from None
    found = [line for line in found if line]
    for line in found:
        try:
            check_speakable(line)
        except ValueError as error:
            raise ValueError(f"{flag} {path}: {line:.40}: {error}") from None
    if not found:
        raise ValueError(f"{flag} {path}: holds no text; write one a line")
    return found


def _voice(tts: TTS, name: str | None) -> Voice:
    if name is not None or tts.released or tts.name == bundled.NAME:
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


def is_quantized(params: Params) -> bool:
    leaves = (leaf for name, leaf in flatten(params).items() if not of_vocoder(name))
    return any(isinstance(leaf, QTensor) for leaf in leaves)
