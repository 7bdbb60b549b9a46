"""python -m ptts_jax.train.lm: the language model, on the latents of a codec that stays as it is.

Its folder holds the tokenizer beside the checkpoint; the checkpoint's meta holds the whole config.
"""

import dataclasses
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ptts_jax import config, schema
from ptts_jax.config import (
    Config,
    FlowConfig,
    FlowLMConfig,
    LookupTable,
    MimiConfig,
    TransformerConfig,
)
from ptts_jax.text import Tokenizer
from ptts_jax.train import (
    checkpoint,
    codec,
    command,
    lm_stage,
    lm_validation,
    loop,
    material,
    rows,
    tokens,
)
from ptts_jax.train.corpus import open_corpus
from ptts_jax.train.latents import encoder_key, open_latents
from ptts_jax.train.lm_stage import HEADS, OBJECTIVES, Params, Recipe
from ptts_jax.train.rows import Material

USAGE = """Train a language model:
python -m ptts_jax.train.lm --corpus=FOLDER --latents=FOLDER --codec=RUN --out=FOLDER [FLAGS]

The same command goes on from the last checkpoint.
"""
TOKENIZER = "tokenizer.model"  # beside the checkpoint
EOS_THRESHOLD = -1.0
_RECIPE = Recipe()


def shape(options: flags.FlagValues, tokenizer: Tokenizer) -> FlowLMConfig:
    kind = HEADS.get(options.objective, options.objective)
    return FlowLMConfig(
        dtype="float32",
        flow=FlowConfig(dim=options.head_width, depth=options.head_depth, type=kind),
        transformer=TransformerConfig(
            hidden_scale=4,
            max_period=10_000,
            d_model=options.width,
            num_heads=options.heads,
            num_layers=options.layers,
        ),
        lookup_table=LookupTable(
            dim=options.width,
            n_bins=tokenizer.n_bins,
            tokenizer=tokens.KIND,
            tokenizer_path=TOKENIZER,
        ),
        insert_bos_before_voice=True,
    )


def whole(flow_lm: FlowLMConfig, mimi: MimiConfig, recipe: Recipe) -> Config:
    """The config of the model as it will speak."""
    return Config(
        flow_lm=flow_lm,
        mimi=mimi,
        model_recommended_frames_after_eos=recipe.eos_frames,
        default_eos_threshold=EOS_THRESHOLD,
    )


def _tokenizer(out: Path, texts: Iterable[str]) -> Tokenizer:
    """That of the run in `out`, or a new one."""
    path = out / TOKENIZER
    if path.exists():
        return tokens.parse(path.read_bytes(), str(path))
    made = tokens.train(texts)
    tokens.save(path, made)
    return made


def load(out: Path) -> tuple[Params, Config, Tokenizer, dict[str, Any]]:
    """(averaged parameters of the language model, config, tokenizer, meta) of a run."""
    state, _, meta = checkpoint.load(out)
    if "config" not in meta:
        raise ValueError(f"{out}: not the run of a language model; give the folder of one")
    described = config.build(meta["config"], str(out))
    tokenizer = tokens.load(out / TOKENIZER, described.flow_lm.lookup_table.n_bins)
    return state["ema"], described, tokenizer, meta


def material_of(
    options: flags.FlagValues, c: Config, tokenizer: Tokenizer, split: str, joined: float
) -> Material:
    """A split of the corpus with its latents."""
    corpus, kept = open_corpus(options.corpus), open_latents(options.latents)
    kept.check_corpus(corpus)
    clips = corpus.select(split=split)
    if not clips:
        raise ValueError(f"{options.corpus}: no clip is {split}; make a larger corpus")
    own = [kept.of(clip) for clip in clips]
    starts = np.cumsum([0, *(len(x) for x in own)])
    return material.material(
        clips,
        np.concatenate(own),
        starts,
        kept.mean,
        kept.std,
        tokenizer,
        c.text_rules,
        joined=joined,
        seed=options.seed,
    )


def define(values: flags.FlagValues) -> None:
    text = partial(flags.DEFINE_string, flag_values=values)
    whole = partial(flags.DEFINE_integer, flag_values=values)
    text("corpus", None, "the corpus to train on", required=True)
    text("latents", None, "its latents", required=True)
    text("codec", None, "the run of the codec that made them", required=True)
    text("out", None, "the folder of this run", required=True)
    whole("width", 192, "of the backbone", lower_bound=8)
    whole("layers", 6, "of the backbone", lower_bound=1)
    whole("heads", 4, "of the backbone's attention", lower_bound=1)
    whole("head_width", 128, "of the sampler head", lower_bound=8)
    whole("head_depth", 3, "of the sampler head", lower_bound=1)
    whole("seed", 0, "of everything random")
    whole("validate_every", 500, "steps", lower_bound=1)
    flags.DEFINE_float("save_minutes", 5, "between checkpoints", 0, flag_values=values)
    flags.DEFINE_float("joined", 0.15, "joined sentences per single one", 0, flag_values=values)
    flags.DEFINE_bool("quiet", False, "no progress", flag_values=values)
    define_recipe(values)


HELP = {
    "objective": "of the head",
    "copies": "of each frame, for the head",
    "head_from": "the step from which the head is trained",
    "regress": "weight of the regression beside the head",
    "eos": "weight of the end's loss",
    "eos_frames": "before the end that count as the end",
    "guide": "weight of the guide along the diagonal at first",
    "guide_later": "its weight after guide_steps, fading out",
    "history_noise": "at most, in the frames fed back",
    "history_dropout": "share of the frames fed back that are dropped",
    "voices": "frames of the voice prompt, least and most",
    "curriculum": "steps until the longest rows are seen",
    "bf16": "products of bfloat16 inputs",
}


def define_recipe(values: flags.FlagValues, *without: str) -> None:
    """A flag for every field of a Recipe."""
    for field in dataclasses.fields(Recipe):
        if field.name in without:
            continue
        name, default = field.name, getattr(_RECIPE, field.name)
        about = HELP.get(name, name.replace("_", " "))
        if name == "objective":
            flags.DEFINE_enum(name, default, OBJECTIVES, about, flag_values=values)
        elif isinstance(default, tuple):
            flags.DEFINE_list(name, [str(x) for x in default], about, flag_values=values)
        elif isinstance(default, bool):
            flags.DEFINE_bool(name, default, about, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, about, lower_bound=0, flag_values=values)
        else:
            flags.DEFINE_float(name, default, about, lower_bound=0, flag_values=values)


def recipe(options: flags.FlagValues, **others: Any) -> Recipe:
    found = {f.name: options[f.name].value for f in dataclasses.fields(Recipe) if f.name in options}
    try:
        least, most = (int(x) for x in found["voices"])
    except ValueError:
        raise ValueError(f"voices {','.join(found['voices'])}: give two numbers, as 8,16") from None
    if not 0 < least <= most:
        raise ValueError(f"voices {least},{most}: give the least first, from 1 up")
    return Recipe(**{**found, "voices": (least, most), **others})


def run(options: flags.FlagValues) -> None:
    out, own = Path(options.out), recipe(options)
    trained, mimi, _ = codec.load(Path(options.codec))
    open_latents(options.latents).check_codec(trained["encoder"], options.codec)
    clips = open_corpus(options.corpus).select(split="train")
    tokenizer = _tokenizer(out, (clip.text for clip in clips))
    c = whole(shape(options, tokenizer), mimi, own)
    source = material_of(options, c, tokenizer, "train", options.joined)
    held = material_of(options, c, tokenizer, "heldout", 0.0)
    parts = rows.buckets(source.utterances, own.buckets)
    made = lm_stage.stage(
        c.flow_lm,
        own,
        partial(lm_stage.init, c=c.flow_lm, recipe=own, material=source),
        material.batches(source, parts, own.batch, own.voices, options.seed, own.curriculum),
        lm_validation.validator(c, own, held),
        config=schema.write(c),
        encoder=encoder_key(trained["encoder"]),
        recipe=dataclasses.asdict(own),
    )
    loop.run(
        made,
        out=out,
        steps=own.steps,
        seed=options.seed,
        save_minutes=options.save_minutes,
        validate_every=options.validate_every,
        quiet=options.quiet,
    )


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
