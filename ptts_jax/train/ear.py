"""python -m ptts_jax.train.ear: gives a model an ear, which tells whether a text was said.

The ear learns from a corpus to read letters from the latents of the model's codec. The checks use
it: what is in doubt is said again, and the clearest try is heard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from jax import Array

from ptts_jax import tts
from ptts_jax.engine import heads
from ptts_jax.messages import say
from ptts_jax.model import ear
from ptts_jax.model.ear import SLOTS, Ear
from ptts_jax.model.pytree import Params
from ptts_jax.store import converted
from ptts_jax.store.bfloat16 import widened
from ptts_jax.text.normalize import LANGUAGES
from ptts_jax.train import heard as listened
from ptts_jax.train.codec import latents
from ptts_jax.train.data.corpus import Corpus, open_corpus
from ptts_jax.train.evaluate import command as evaluate
from ptts_jax.train.evaluate import metrics, spelling
from ptts_jax.train.heard import Heard
from ptts_jax.train.lm import material
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.rows import Rows, buckets, make
from ptts_jax.train.run import command, loop, optim, options

USAGE = """Give a model an ear:
python -m ptts_jax.train.ear --model=NAME|FILE --corpus=FOLDER --out=RUN [FLAGS]

Writes the model with its ear, and with the heads that follow the text, into --out. The same command
goes on from the last checkpoint. A model that has such an ear keeps it to begin with.
"""
STAGE = "ear"
FILE = "model.safetensors"  # what speaks, in the folder of the run
NOISE = 0.3  # in the latents: what a model says is not quite what it heard
DROPPED = 0.15  # of what goes from layer to layer
KEPT = 0.998  # of the average of the parameters
VOICES = (1, 1)  # frames of a prompt, of which an ear needs none
BUCKETS = 6
HELD = 8  # of what was heard of the model, each such one is held out
PADDED = 16  # lengths are rounded up to so many: fewer compilations

Batch = dict[str, np.ndarray]


def batch(rows: Rows, labels: np.ndarray) -> Batch:
    """Latents [B, F, D] and their sounds [B, N]; ones where there is no slot [B, S] or sound."""
    counts, frames = np.asarray(rows.frame_count), rows.latents.shape[1]
    said = [labels[row[:n]] for row, n in zip(rows.tokens, rows.token_count, strict=True)]
    said = [row[row > 0] for row in said]
    sounds = np.zeros(rows.tokens.shape, np.int32)
    for row, known in zip(sounds, said, strict=True):
        row[: len(known)] = known
    size = np.array([len(row) for row in said])
    return {
        "latents": np.asarray(rows.latents),
        "no_slot": (np.arange(SLOTS * frames) >= SLOTS * counts[:, None]).astype(np.float32),
        "sounds": sounds,
        "no_sound": (np.arange(sounds.shape[1]) >= size[:, None]).astype(np.float32),
    }


def heard_batches(
    heard: Sequence[Heard], model: tts.TTS, labels: np.ndarray, size: int, seed: int
) -> tuple[Callable[[int], Batch], list[Batch]]:
    """Batches of what others heard, by their step, and those that are held out.

    What was heard right has the sounds of the text, everything else those of the words heard.
    """
    known = [one for one in (_with_sounds(one, model, labels) for one in heard) if one is not None]
    held, kept = known[::HELD], [one for i, one in enumerate(known) if i % HELD]
    if not kept:
        raise ValueError(f"--heard: {len(known)} chunks of it are clear, which is too few")
    kept.sort(key=lambda one: len(one[0]))
    groups = np.array_split(np.arange(len(kept)), max(1, min(BUCKETS, len(kept) // size)))

    def batch(step: int) -> Batch:
        rng = np.random.default_rng((seed, step))
        group = groups[rng.integers(len(groups))]
        members = rng.choice(group, size, replace=len(group) < size)
        return _padded([kept[i] for i in members], len(kept[group[-1]][0]))

    longest = max(len(latents) for latents, _ in held)
    return batch, [_padded(held[at : at + size], longest) for at in range(0, len(held), size)]


def _with_sounds(
    one: Heard, model: tts.TTS, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Latents [F, D] and sounds [N]; None where the recogniser went round in circles."""
    said = "".join(model.tokenizer.piece(int(token)) for token in one.tokens)
    wanted, words = spelling.words(said.replace("\u2581", " ")), spelling.words(one.words)
    tokens = one.tokens if words == wanted else model.tokenizer.encode(" ".join(words))
    sounds = labels[np.asarray(tokens, np.int64)]
    sounds = sounds[sounds > 0]
    astray = len(words) > 2 * len(wanted) + 4
    if not len(sounds) or astray or 2 * len(sounds) >= SLOTS * len(one.latents) + len(sounds):
        return None
    return np.asarray(one.latents, np.float32), sounds


def _padded(some: Sequence[tuple[np.ndarray, np.ndarray]], frames: int) -> Batch:
    frames = -(-frames // PADDED) * PADDED
    most = -(-max(len(sounds) for _, sounds in some) // PADDED) * PADDED
    made = {
        "latents": np.zeros((len(some), frames, some[0][0].shape[1]), np.float32),
        "no_slot": np.ones((len(some), SLOTS * frames), np.float32),
        "sounds": np.zeros((len(some), most), np.int32),
        "no_sound": np.ones((len(some), most), np.float32),
    }
    for row, (said, sounds) in enumerate(some):
        made["latents"][row, : len(said)] = said
        made["no_slot"][row, : SLOTS * len(said)] = 0
        made["sounds"][row, : len(sounds)] = sounds
        made["no_sound"][row, : len(sounds)] = 0
    return made


def loss(params: Params, rows: dict[str, Array], key: Array | None) -> Array:
    """Nats for each letter."""
    x = rows["latents"]
    if key is None:
        heard = ear.sounds(params, x, jnp)
    else:
        noisy, *keys = jax.random.split(key, 1 + ear.LAYERS)
        x = x + NOISE * jax.random.normal(noisy, x.shape)
        heard = ear.sounds(params, x, jnp, partial(_thinned, keys))
    nats = optax.ctc_loss(heard, rows["no_slot"], rows["sounds"], rows["no_sound"])
    slots, letters = ((1 - rows[name]).sum(axis=1) for name in ("no_slot", "no_sound"))
    fits = 2 * letters < slots + letters  # not more letters than places for them
    return jnp.sum(jnp.where(fits, nats, 0)) / jnp.maximum(1, jnp.sum(fits * letters))


def _thinned(keys: list[Array], x: Array) -> Array:
    """Without a share of the numbers, by the next key."""
    kept = jax.random.bernoulli(keys.pop(), 1 - DROPPED, x.shape)
    return jnp.where(kept, x / (1 - DROPPED), 0)


def mistakes(heard: np.ndarray, said: np.ndarray) -> int:
    """Letters that are misheard of a clip: by its sounds [S, V], said [N]."""
    best = heard.argmax(axis=-1)
    new = best[np.flatnonzero(np.diff(best, prepend=0))]
    return metrics.edits(said.tolist(), new[new > 0].tolist())


def stage(
    data: material.Data,
    labels: np.ndarray,
    first: Params,
    rate: float,
    others: tuple[Callable[[int], Batch], list[Batch]] | None = None,
) -> loop.Stage:
    """`first` is what it begins with, `others` are every second batch and more to be judged by."""

    def optimiser(steps: int | Array) -> optax.GradientTransformation:
        return optim.adamw(optim.schedule(rate, steps, 100))

    def init(key: Array) -> loop.State:
        del key
        params = jax.tree.map(jnp.asarray, first)
        return {"params": params, "ema": params, "opt": optimiser(0).init(params)}

    def update(state: loop.State, rows: dict, key: Array, progress: loop.Progress) -> tuple:
        tx = optimiser(progress.steps)
        nats, grads = jax.value_and_grad(loss)(state["params"], rows, key)
        updates, opt = tx.update(grads, state["opt"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        ema = optim.average(state["ema"], params, progress.step, KEPT)
        return {"params": params, "ema": ema, "opt": opt}, {"nats": nats}

    [bucket] = buckets(data.held.utterances, 1)
    random = np.random.default_rng(0)
    held = batch(make(data.held, bucket, range(len(bucket.members)), VOICES, random), labels)
    figures = jax.jit(partial(loss, key=None))

    def validate(state: loop.State) -> dict[str, float]:
        params = jax.tree.map(np.asarray, state["ema"])
        letters = wrong = 0
        for x, gone, said, no in zip(*held.values(), strict=True):
            slots, said = int((1 - gone).sum()), said[no == 0]
            wrong += mistakes(ear.sounds(params, x[: slots // SLOTS]), said)
            letters += len(said)
        found = {"heldout_mistakes": wrong / max(1, letters)}
        if others:
            nats = [float(figures(state["ema"], rows)) for rows in others[1]]
            found["heard_nats"] = float(np.mean(nats))
        return {"heldout_nats": float(figures(state["ema"], held)), **found}

    def rows(step: int) -> Batch:
        return others[0](step) if others and step % 2 else batch(data.batch(step), labels)

    return loop.Stage(STAGE, init, update, rows, validate)


def encoded(model: tts.TTS, corpus: Corpus, folder: Path, quiet: bool) -> latents.Latents:
    """The latents of a corpus by the model's own encoder, made once."""
    encoder = widened(model.params["codec"]["encoder"])
    try:
        known = latents.open_latents(folder)
        known.check_corpus(corpus)
        known.check_codec(encoder, model.name)
        return known
    except ValueError:
        return latents.encode(encoder, model.config.mimi, corpus, folder, quiet)


def _noted(model: tts.TTS, corpus: Corpus) -> str | None:
    """The heads that follow the text, if any does: the checks need them as well."""
    voice = evaluate.voice(model, corpus, corpus.speakers[0]).rows[0]
    of = (model.name, model.params, model.config, model.tokenizer)
    return heads.noted(*of, voice, model.caches)


def _first(model: tts.TTS, labels: np.ndarray, width: int, seed: int) -> Params:
    """The ear that the model has, if it is as wide, or a new one."""
    if model.ear and model.ear.params["first"]["b"].shape == (width,):
        return widened(model.ear.params)
    size = model.config.mimi.latent_dim
    return ear.init(np.random.default_rng(seed), size, width, int(labels.max()) + 1)


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(model="a model's name or file, with its encoder", corpus="the corpus", out="the run")
    add.whole("steps", 6000, "of training", 1)
    add.whole("batch", 32, "clips of a step", 1)
    add.whole("width", 128, "of its layers", 8)
    add.number("rate", 2e-3, "the highest learning rate", 0)
    add.number("joined", 0.3, "joined utterances for every single one", 0)
    about = "whose numbers and initials are read as they are said"
    add.choice("language", "", ("", *LANGUAGES), about)
    add.text("heard", "", "what was heard of the model (train.heard), to learn from as well")
    options.define_running(values)


def run(values: flags.FlagValues) -> None:
    model = tts.load(values.model)
    if "encoder" not in model.params["codec"]:
        raise ValueError(f"--model={values.model}: it was written without its encoder")
    corpus, out = open_corpus(values.corpus), Path(values.out)
    found = encoded(model, corpus, out / "latents", values.quiet)
    pieces = [model.tokenizer.piece(i) for i in range(model.config.flow_lm.lookup_table.n_bins)]
    labels = ear.labels(pieces)
    recipe = Recipe(batch=values.batch, buckets=BUCKETS, voices=VOICES, language=values.language)
    scale = (np.asarray(model.params["lm"]["mean"]), np.asarray(model.params["lm"]["std"]))
    data = material.read(
        corpus,
        found,
        model.config,
        model.tokenizer,
        recipe,
        joined=values.joined,
        seed=values.seed,
        scale=scale,
    )
    first, others = _first(model, labels, values.width, values.seed), None
    if values.heard:
        others = heard_batches(
            listened.read(values.heard), model, labels, values.batch, values.seed
        )
    state = options.launch(stage(data, labels, first, values.rate, others), values)
    made = Ear(jax.tree.map(np.asarray, state["ema"]), labels)
    changed = {"ear": made, "heads": model.noted_heads or _noted(model, corpus)}
    converted.save(out / FILE, converted.of(model, **changed), compact=True)
    size = (out / FILE).stat().st_size / 1e6
    if not values.quiet:
        say(f"{out / FILE}: {model.name} with an ear, {size:.2f} MB")


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
