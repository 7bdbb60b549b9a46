"""python -m ptts_jax.train.lm: a language model, on the latents of a codec that stays."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from jax import Array

from ptts_jax.model.config import (
    Config,
    FlowConfig,
    FlowLMConfig,
    LookupTable,
    MimiConfig,
    TransformerConfig,
)
from ptts_jax.text import Tokenizer
from ptts_jax.train.codec import runs as codecs
from ptts_jax.train.codec.latents import encoder_key, open_latents
from ptts_jax.train.data.corpus import open_corpus
from ptts_jax.train.lm import folding, losses, material, recipe, runs, stage, tokens, validation
from ptts_jax.train.lm.objectives import HEADS
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.lm.rows import Material
from ptts_jax.train.lm.runs import TOKENIZER, Start
from ptts_jax.train.lm.stage import Params
from ptts_jax.train.run import command, options

USAGE = """Train a language model:
python -m ptts_jax.train.lm --corpus=FOLDER --latents=FOLDER --codec=RUN --out=FOLDER [FLAGS]

The same command goes on from the last checkpoint.
"""
EOS_THRESHOLD = -1.0


def shape(given: flags.FlagValues, tokenizer: Tokenizer, mimi: MimiConfig, own: Recipe) -> Config:
    """The config of the model as it will speak."""
    kind = HEADS.get(given.objective, given.objective)
    flow_lm = FlowLMConfig(
        dtype="float32",
        flow=FlowConfig(dim=given.head_width, depth=given.head_depth, type=kind),
        transformer=TransformerConfig(
            hidden_scale=4,
            max_period=10_000,
            d_model=given.width,
            num_heads=given.heads,
            num_layers=given.layers,
        ),
        lookup_table=LookupTable(
            dim=given.width,
            n_bins=tokenizer.n_bins,
            tokenizer=tokens.KIND,
            tokenizer_path=TOKENIZER,
        ),
        insert_bos_before_voice=True,
    )
    return Config(
        flow_lm=flow_lm,
        mimi=mimi,
        model_recommended_frames_after_eos=own.eos_frames,
        default_eos_threshold=EOS_THRESHOLD,
    )


def _tokenizer(out: Path, start: Start | None, texts: Iterable[str]) -> Tokenizer:
    """That of the run in `out`, of what it starts from, or a new one."""
    path = out / TOKENIZER
    if path.exists():
        return tokens.parse(path.read_bytes(), str(path))
    tokenizer = start.tokenizer if start else tokens.train(texts)
    tokens.save(path, tokenizer)
    return tokenizer


def _initial(
    c: FlowLMConfig, own: Recipe, source: Material, start: Start | None, key: Array
) -> Params:
    fresh = stage.init(key, c, source)
    if start is None:
        return fresh
    params = {part: {**fresh[part], **start.params[part]} for part in fresh}
    roomy = c.flow.dim >= 3 * len(params["lm"]["mean"]) and own.objective != "consistency"
    if "head" not in start.params["lm"] and roomy:
        fresh_head, known = params["lm"]["head"], params["extra"]["regress"]
        params["lm"]["head"] = folding.beginning_with(fresh_head, c.flow, known)
    params["lm"] |= {name: fresh["lm"][name] for name in ("mean", "std")}
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (params, fresh)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{start.name}: of another shape; give the flags it was made with")
    return jax.tree.map(jnp.asarray, params)


def define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.needed(codec="the run of the codec that made them")
    add.whole("width", 192, "of the backbone", 8)
    add.whole("layers", 6, "of the backbone", 1)
    add.whole("heads", 4, "of the backbone's attention", 1)
    add.whole("head_width", 128, "of the sampler head", 8)
    add.whole("head_depth", 3, "of the sampler head", 1)
    add.text("start", None, "a run of the same shape, by its average, or a model, to begin with")
    recipe.define(values, Recipe(muon=True))


def run(given: flags.FlagValues) -> None:
    out, own = Path(given.out), recipe.read(given)
    codec, mimi, _ = codecs.load(Path(given.codec))
    corpus, latents = open_corpus(given.corpus), open_latents(given.latents)
    latents.check_codec(codec["encoder"], given.codec)
    start = runs.start(given.start) if given.start else None
    tokenizer = _tokenizer(out, start, (clip.text for clip in corpus.select(split="train")))
    c = shape(given, tokenizer, mimi, own)
    data = material.read(corpus, latents, c, tokenizer, own, joined=given.joined, seed=given.seed)
    training = stage.stage(
        c.flow_lm,
        own,
        partial(_initial, c.flow_lm, own, data.train, start),
        data.batch,
        validation.validator(c, own, data.held),
        meta=runs.meta(c, encoder_key(codec["encoder"]), own),
        weight=losses.importance(jnp.exp(codec["log_variance"]) / data.train.std**2),
    )
    options.launch(training, given)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)
