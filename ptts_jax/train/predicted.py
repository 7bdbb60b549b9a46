"""python -m ptts_jax.train.predicted: a corpus's latents as a language model gives them.

Each frame is what the model makes of the frames before it, and those are its own too, made after
the true ones. They are in time with the audio and as blurred as in speech, so that a decoder that
goes on from them (codec --decoder_only) learns to speak clearly from such.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np
from absl import flags
from jax import Array

from ptts_jax.messages import say
from ptts_jax.model import head
from ptts_jax.model.config import FlowLMConfig
from ptts_jax.train.codec import latents
from ptts_jax.train.codec.latents import Latents, open_latents
from ptts_jax.train.data.corpus import Corpus, open_corpus
from ptts_jax.train.lm import material, rows, runs
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.rows import Material, Rows
from ptts_jax.train.lm.stage import Params
from ptts_jax.train.run import command

USAGE = """Latents as a language model gives them, for its decoder to go on from:
python -m ptts_jax.train.predicted --lm=RUN --corpus=FOLDER --latents=FOLDER --out=FOLDER
"""
ROWS = 32  # clips at once
BUCKETS = 8  # lengths, each a compilation
PASSES = 2  # the first after the true frames, the others after what came out of the one before


@partial(jax.jit, static_argnums=1)
def predict(params: Params, c: FlowLMConfig, batch: Rows, noise: Array) -> Array:
    """The normalised latents [B, T, D] of a batch; `noise` as large, at its temperature."""
    times, made = head.schedule(params["head"], c.flow, 1), batch.latents
    for _ in range(PASSES):
        z, _ = rows.forward(params, c, batch, made)
        z = z[:, :-1].reshape(-1, z.shape[-1])
        made = head.sample(params["head"], c.flow, z, noise.reshape(len(z), -1), times)
        made = made.reshape(noise.shape)
    return made


def frames(
    params: Params,
    c: FlowLMConfig,
    source: Material,
    prompts: tuple[int, int],
    deviation: float,
    quiet: bool = True,
) -> np.ndarray:
    """Of all clips, one after the other [F, D], as the codec's decoder takes them."""
    rng, predicted = np.random.default_rng(0), np.zeros_like(source.latents)
    done, total = 0, len(source.utterances)
    for bucket in rows.buckets(source.utterances, BUCKETS):
        for at in range(0, len(bucket.members), ROWS):
            members = bucket.members[at : at + ROWS]
            filled = np.resize(members, ROWS)  # always as many rows: one shape
            batch = rows.make(source, bucket, filled, prompts, rng)
            noise = deviation * rng.normal(size=batch.latents.shape).astype(np.float32)
            made = np.asarray(predict(params, c, batch, noise)) * source.std + source.mean
            for row, i in enumerate(members):
                start, count = source.starts[i], source.counts[i]
                predicted[start : start + count] = made[row, :count]
            done += len(members)
            if not quiet and at // ROWS % 10 == 0:
                say(f"predicted {done}/{total} clips")
    return predicted


def write(run: Path, corpus: Corpus, true: Latents, out: Path, plain: bool, quiet: bool) -> Latents:
    """The latents of a corpus as the model of a run predicts them, in a folder as `true` is."""
    true.check_corpus(corpus)
    params, c, tokenizer, about = runs.load(run, plain=plain)
    if about["encoder"] != true.about["codec"]:
        raise ValueError(f"{true.path}: not the latents that {run} was trained on; give those")
    scale = (np.asarray(params["mean"]), np.asarray(params["std"]))
    recipe, rest = Recipe(**about["recipe"]), (*scale, tokenizer, c.text_rules)
    source = material.material(
        corpus.clips, *true.of_all(corpus.clips), *rest, language=recipe.language
    )
    prompts, deviation = recipe.voices, c.default_temperature**0.5
    made = frames(params, c.flow_lm, source, prompts, deviation, quiet)
    latents.write(out, made, true.counts, corpus, about["encoder"], predicted=True)
    return open_latents(out)


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(
        lm="a language model's run",
        corpus="the corpus",
        latents="its latents, which that run was trained on",
        out="the folder to write",
    )
    add.switch("plain", False, "by the regression trained beside the head instead of the head")
    add.switch("quiet", False, "no progress")


def run(options: flags.FlagValues) -> None:
    corpus, true = open_corpus(options.corpus), open_latents(options.latents)
    out = Path(options.out)
    made = write(Path(options.lm), corpus, true, out, options.plain, options.quiet)
    if not options.quiet:
        off = np.mean(np.square((made.frames - true.frames) / true.std))
        print(f"{out}: {len(made.frames)} frames, {off:.3f} of the variance off the true ones")


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
