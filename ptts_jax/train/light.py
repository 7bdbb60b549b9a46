"""python -m ptts_jax.train.light: a net that makes Kokoro's speech by a tenth of the work.

Kokoro's generator is nine tenths of it. The net hears what the generator says of some sentences
and learns to tell FARGAN, the vocoder, the same; ptts_jax.train.data speaks by the two. What Kokoro
said is kept in parts, so that a run that was killed goes on.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from jax import Array

from ptts_jax import audio
from ptts_jax.messages import say
from ptts_jax.model.codec_config import VOCODER_RATE
from ptts_jax.model.pytree import Params
from ptts_jax.model.vocoder_state import CEPSTRA
from ptts_jax.store.paths import atomic_write
from ptts_jax.train.codec import fargan, told
from ptts_jax.train.codec.features import features
from ptts_jax.train.codec.stage import weighted
from ptts_jax.train.data import kokoro, script
from ptts_jax.train.data.light import GIVEN, STAGE, Net, given
from ptts_jax.train.run import command, loop, optim, options

USAGE = """Learn to speak like Kokoro by a tenth of its work:
python -m ptts_jax.train.light --vocoder=FOLDER --out=FOLDER [FLAGS]

--vocoder is the source of Opus 1.5. Then: python -m ptts_jax.train.data --voices kokoro:NAME
--light FOLDER. The same command goes on from the last checkpoint.
"""
PART = 25  # clips of one file
ROWS, STEPS = 8, 200  # of a batch: crops, and the vocoder's steps of each
HELD_OUT = 12  # every so many clips, one
SEED = 1  # of the sentences: others than those of a corpus
VALIDATED = 4  # batches


@dataclass(frozen=True, eq=False)
class Heard:
    """A clip: what the net is given [F, GIVEN], its style, and what it should say [F, FEATURES]."""

    given: np.ndarray
    style: np.ndarray
    told: np.ndarray


def hear(voice: str, count: int, folder: Path, kokoro_voices: str, quiet: bool) -> list[Heard]:
    """So many sentences of a voice, from the parts in a folder or spoken now."""
    speaker, heard = kokoro.Kokoro(voice, kokoro_voices), []
    lines = [line.text for line in script.lines(voice, count, SEED) if line.split == "train"]
    for at in range(0, count, PART):
        texts = lines[at : at + PART]
        about = json.dumps([voice, speaker.version, texts]).encode()
        path = folder / f"{voice}-{at:05d}-{hashlib.sha256(about).hexdigest()[:12]}.npz"
        if not path.is_file():
            _write(path, [_heard(speaker, text) for text in texts])
            if not quiet:
                say(f"{voice}: {at + len(texts)} of {count} clips")
        heard += _read(path)
    return heard


def _heard(speaker: kokoro.Kokoro, text: str) -> Heard:
    said, inside = speaker.listen(text)
    wanted = features(audio.resample(said.wave, said.rate, VOCODER_RATE))
    return Heard(given(inside, len(wanted)), inside.style, wanted)


def _write(path: Path, clips: Sequence[Heard]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as new, new.open("wb") as file:
        np.savez(
            file,
            given=np.concatenate([clip.given for clip in clips]).astype(np.float16),
            style=np.stack([clip.style for clip in clips]),
            told=np.concatenate([clip.told for clip in clips]),
            lengths=[len(clip.told) for clip in clips],
        )


def _read(path: Path) -> list[Heard]:
    with np.load(path, allow_pickle=False) as part:
        ends = np.cumsum(part["lengths"])[:-1]
        rows = np.split(part["given"].astype(np.float32), ends)
        return list(map(Heard, rows, part["style"], np.split(part["told"], ends)))


def batch(clips: Sequence[Heard], seed: int, step: int) -> dict[str, np.ndarray]:
    """Crops of random clips: a function of the seed and the step."""
    draw = np.random.default_rng((seed, step))
    rows = []
    for index in draw.integers(0, len(clips), ROWS):
        clip = clips[index]
        start = draw.integers(0, max(1, len(clip.told) - STEPS + 1))
        at = np.minimum(start + np.arange(STEPS), len(clip.told) - 1)
        rows.append((clip.given[at], clip.style, clip.told[at]))
    names = ("given", "style", "told")
    return {name: np.stack([row[i] for row in rows]) for i, name in enumerate(names)}


def stage(clips: Sequence[Heard], vocoder: Params, rate: float, seed: int) -> loop.Stage:
    train = [clip for i, clip in enumerate(clips) if i % HELD_OUT]
    held = clips[::HELD_OUT]

    def optimiser(steps: int | Array) -> optax.GradientTransformation:
        return optim.adamw(optim.schedule(rate, steps, 0))

    def init(key: Array) -> loop.State:
        rows = np.concatenate([clip.given for clip in train])
        params = Net().init(key, jnp.zeros((1, 1, GIVEN)), jnp.zeros((1, kokoro.STYLE)))["params"]
        params |= {"mean": rows.mean(0), "scale": 1 / (rows.std(0) + 1e-3)}
        wanted = np.concatenate([clip.told for clip in train]).mean(0)
        params["told"] |= {"bias": np.where(np.arange(len(wanted)) == CEPSTRA, 0, wanted)}
        params = jax.tree.map(jnp.asarray, params)
        opt = optimiser(0).init(params)
        return {"params": params, "ema": params, "opt": opt, "vocoder": vocoder}

    def losses(params: Params, rows: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        found = Net().apply({"params": params}, rows["given"], rows["style"])
        parts = told.distances(found, rows["told"])
        return weighted(parts, told.WEIGHTS), parts

    def update(state: loop.State, rows: dict, key: Array, progress: loop.Progress) -> tuple:
        del key
        tx = optimiser(progress.steps)
        (loss, parts), grads = jax.value_and_grad(losses, has_aux=True)(state["params"], rows)
        updates, opt = tx.update(grads, state["opt"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        ema = optim.average(state["ema"], params, progress.step, 0.99)
        return {**state, "params": params, "ema": ema, "opt": opt}, {"loss": loss, **parts}

    figures = jax.jit(losses)

    def validate(state: loop.State) -> dict[str, float]:
        each = [figures(state["ema"], batch(held, seed, i))[1] for i in range(VALIDATED)]
        return {f"heldout_{name}": float(np.mean([f[name] for f in each])) for name in each[0]}

    return loop.Stage(STAGE, init, update, lambda step: batch(train, seed, step), validate)


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(out="the folder of this run", vocoder="the source of Opus 1.5")
    add.items("voices", ["af_heart"], "of kokoro")
    add.whole("clips", 250, "of each voice", HELD_OUT)
    add.text("kokoro_voices", kokoro.VOICES, "the folder of kokoro's voices")
    add.whole("steps", 2500, "of training", 1)
    add.number("rate", 2e-3, "the highest learning rate", 0)
    options.define_running(values)


def run(values: flags.FlagValues) -> None:
    vocoder = jax.tree.map(jnp.asarray, fargan.read(values.vocoder))
    folder = Path(values.out) / "heard"
    clips = [
        clip
        for voice in values.voices
        for clip in hear(voice, values.clips, folder, values.kokoro_voices, values.quiet)
    ]
    options.launch(stage(clips, vocoder, values.rate, values.seed), values)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
