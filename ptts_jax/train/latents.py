"""python -m ptts_jax.train.latents: a corpus through a codec's encoder, once for all training."""

from pathlib import Path

from absl import flags

from ptts_jax.train.codec import latents, runs
from ptts_jax.train.data.corpus import open_corpus
from ptts_jax.train.run import command

USAGE = "Encode a corpus: python -m ptts_jax.train.latents --corpus=FOLDER --codec=RUN --out=FOLDER"


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(corpus="the corpus", codec="a codec's run", out="a folder")
    add.switch("quiet", False, "no progress")


def run(options: flags.FlagValues) -> None:
    params, c, step = runs.load(Path(options.codec))
    corpus, out = open_corpus(options.corpus), Path(options.out)
    encoded = latents.encode(params["encoder"], c, corpus, out, options.quiet)
    if not options.quiet:
        count, spread = len(encoded.frames), f"{encoded.std.min():.3g} to {encoded.std.max():.3g}"
        print(f"{options.out}: {count} frames of step {step}, deviations {spread}")


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
