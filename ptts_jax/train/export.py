"""python -m ptts_jax.train.export: what the trainers made, as a model that speaks.

Writes one self-contained file, which notes the heads that follow the text, and a ready voice of
each speaker; `python -m convert` turns the file into the reference's layout. The model inside the
package is such a folder.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from convert import flatten
from ptts_jax.engine import heads, voices
from ptts_jax.engine.caches import Caches
from ptts_jax.messages import say
from ptts_jax.model.config import Config
from ptts_jax.store import converted
from ptts_jax.store.converted import Converted
from ptts_jax.text import Tokenizer
from ptts_jax.train.codec import runs as codecs
from ptts_jax.train.codec.latents import encoder_key
from ptts_jax.train.data.corpus import open_corpus
from ptts_jax.train.evaluate import speakers
from ptts_jax.train.lm import runs
from ptts_jax.train.run import command

USAGE = """Make a model of what was trained:
python -m ptts_jax.train.export --lm=RUN --codec=RUN --corpus=FOLDER --out=FOLDER [--name=NAME]

--codec is the run whose latents the language model learned, or one that went on from there with
--decoder_only.
"""


def model(lm_run: Path, codec_run: Path, plain: bool) -> tuple[dict[str, Any], Config, Tokenizer]:
    """Parameters, config and tokenizer of a language model and a codec that belong together."""
    lm, config, tokenizer, meta = runs.load(lm_run, plain=plain)
    codec, mimi, _ = codecs.load(codec_run)
    if mimi != config.mimi or encoder_key(codec["encoder"]) != meta["encoder"]:
        raise ValueError(
            f"{codec_run}: another encoder than the one {lm_run} was trained with; give that run, "
            "or one that kept its encoder (--decoder_only)"
        )
    halves = {name: codec[name] for name in ("encoder", "decoder")}
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), {"lm": lm, "codec": halves})
    return params, config, tokenizer


def write(
    lm_run: Path,
    codec_run: Path,
    corpus: Path,
    out: Path,
    *,
    name: str,
    temperature: float | None = None,
    plain: bool = False,
    spread: float = 1.0,
) -> list[Path]:
    """The model and its voices in the folder `out`; the files written.

    `spread` widens what the decoder is given around its mean: a regression, being a mean of what is
    possible, varies less than the latents that the decoder knows. What is fed back stays.
    """
    clips = open_corpus(corpus)
    params, config, tokenizer = model(lm_run, codec_run, plain)
    usual = 0.0 if plain else config.default_temperature
    config = replace(config, default_temperature=usual if temperature is None else temperature)
    params["lm"]["std"] = params["lm"]["std"] * np.float32(spread)
    size = sum(leaf.size for leaf in flatten(params).values())
    say(f"{name}: {size / 1e6:.2f} million parameters")
    (out / "voices").mkdir(parents=True, exist_ok=True)
    written = [out / "model.safetensors"]
    made = Converted(name, config, params, tokenizer.serialized, voice_cloning=True)
    converted.save(written[0], made, compact=True)
    stored = converted.load(written[0])  # voices are of the weights as they are kept
    for speaker in clips.speakers:
        prompt = speakers.prompt(clips, speaker)
        voice = voices.clone(stored.params, config, _whole_frames(prompt, config.mimi.frame_size))
        written.append(out / "voices" / f"{speaker}.safetensors")
        voice.save(written[-1])
    if note := heads.noted(name, stored.params, config, tokenizer, voice, Caches()):
        converted.save(written[0], replace(made, heads=note), compact=True)
    return written


def _whole_frames(wave: np.ndarray, frame: int) -> np.ndarray:
    return wave[: len(wave) // frame * frame] if len(wave) >= frame else wave


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(
        lm="a language model's run",
        codec="a codec's run",
        corpus="the corpus, for the voices",
        out="the folder to write",
    )
    add.text("name", "mine", "the model's name")
    words = "the regression trained beside the head instead of the head: always the mean"
    add.switch("plain", False, words)
    words = "how much wider the latents vary that are decoded: above 1 for a --plain model"
    add.number("spread", 1.0, words, 0.1, 10)
    words = "its temperature, where none is asked for (default: 0.3, or 0 of a --plain model)"
    add.number("temperature", None, words, 0)


def run(options: flags.FlagValues) -> None:
    folders = (Path(options[name].value) for name in ("lm", "codec", "corpus", "out"))
    chosen = {name: options[name].value for name in ("name", "temperature", "plain", "spread")}
    written = write(*folders, **chosen)
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    command.start(main)
