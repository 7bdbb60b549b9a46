"""python -m ptts_jax.train.lm: the language model, on the latents of a codec that stays as it is.

Its folder holds the tokenizer beside the checkpoint; the checkpoint's meta holds the whole config.
"""

import dataclasses
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from jax import Array

from convert import flatten
from int8 import QTensor
from ptts_jax import config, schema, tts
from ptts_jax.config import (
    Config,
    FlowConfig,
    FlowLMConfig,
    LookupTable,
    MimiConfig,
    TransformerConfig,
)
from ptts_jax.halves import widened
from ptts_jax.text import Tokenizer
from ptts_jax.train import (
    checkpoint,
    codec,
    command,
    lm_options,
    lm_stage,
    lm_validation,
    objectives,
    regression,
    tokens,
)
from ptts_jax.train.corpus import open_corpus
from ptts_jax.train.latents import encoder_key, open_latents
from ptts_jax.train.lm_stage import HEADS, Params, Recipe
from ptts_jax.train.rows import Material

USAGE = """Train a language model:
python -m ptts_jax.train.lm --corpus=FOLDER --latents=FOLDER --codec=RUN --out=FOLDER [FLAGS]

The same command goes on from the last checkpoint.
"""
TOKENIZER = "tokenizer.model"  # beside the checkpoint
EOS_THRESHOLD = -1.0


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


def meta(c: Config, encoder: str, own: Recipe) -> dict[str, Any]:
    """What `load` needs to know of a run."""
    return {"config": schema.write(c), "encoder": encoder, "recipe": dataclasses.asdict(own)}


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run begins with."""

    name: str
    params: Params  # "lm", and "extra" as far as it is known
    tokenizer: Tokenizer


def started(name: str | None) -> Start | None:
    """A run by its averaged parameters, or a model that speaks."""
    if name is None:
        return None
    if Path(name).is_dir():
        state, _, about = checkpoint.load(Path(name))
        if "config" not in about:
            raise ValueError(f"--start={name}: not the run of a language model")
        tokenizer = tokens.parse((Path(name) / TOKENIZER).read_bytes(), name)
        return Start(name, {**state["trained"], "lm": state["ema"]}, tokenizer)
    model = tts.load(name)
    own, extra = widened(model.params["lm"]), {}
    if any(isinstance(leaf, QTensor) for leaf in flatten(own).values()):
        raise ValueError(f"--start={name}: it is quantised; start from the float model")
    w = regression.unfold(own["head"], model.config.flow_lm.flow)
    if w is not None:  # it spoke by its regression and has no other head
        own.pop("head")
        extra["regress"] = w
    return Start(name, {"lm": own, "extra": extra}, model.tokenizer)


def _tokenizer(out: Path, start: Start | None, texts: Iterable[str]) -> Tokenizer:
    """That of the run in `out`, of what it starts from, or a new one."""
    path = out / TOKENIZER
    if path.exists():
        return tokens.parse(path.read_bytes(), str(path))
    made = tokens.train(texts) if start is None else start.tokenizer
    tokens.save(path, made)
    return made


def load(out: Path, *, plain: bool = False) -> tuple[Params, Config, Tokenizer, dict[str, Any]]:
    """(averaged parameters of the model as it speaks, config, tokenizer, meta) of a run.

    `plain` puts the regression beside the head in the place of the head.
    """
    state, _, about = checkpoint.load(out)
    if "config" not in about:
        raise ValueError(f"{out}: not the run of a language model; give the folder of one")
    described = config.build(about["config"], str(out))
    tokenizer = tokens.load(out / TOKENIZER, described.flow_lm.lookup_table.n_bins)
    own = Recipe(**about["recipe"])
    if plain:
        head, flow = regression.fold(jnp.asarray(state["trained"]["extra"]["regress"]))
        flow_lm = dataclasses.replace(described.flow_lm, flow=flow)
        params = {**state["ema"], "head": head}
    else:
        params, flow_lm = lm_stage.deployed(state["ema"], described.flow_lm, own)
    return params, dataclasses.replace(described, flow_lm=flow_lm), tokenizer, about


def _initial(c: FlowLMConfig, source: Material, start: Start | None, key: Array) -> Params:
    fresh = lm_stage.init(key, c, source)
    if start is None:
        return fresh
    own = {part: {**fresh[part], **start.params[part]} for part in fresh}
    own["lm"] |= {name: fresh["lm"][name] for name in ("mean", "std")}
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (own, fresh)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{start.name}: of another shape; give the flags it was made with")
    return jax.tree.map(jnp.asarray, own)


def define(values: flags.FlagValues) -> None:
    text = partial(flags.DEFINE_string, flag_values=values)
    whole = partial(flags.DEFINE_integer, flag_values=values)
    text("codec", None, "the run of the codec that made them", required=True)
    whole("width", 192, "of the backbone", lower_bound=8)
    whole("layers", 6, "of the backbone", lower_bound=1)
    whole("heads", 4, "of the backbone's attention", lower_bound=1)
    whole("head_width", 128, "of the sampler head", lower_bound=8)
    whole("head_depth", 3, "of the sampler head", lower_bound=1)
    text("start", None, "a run of the same shape, by its average, or a model, to begin with")
    lm_options.define(values, Recipe(muon=True))


def run(options: flags.FlagValues) -> None:
    out, own = Path(options.out), lm_options.recipe(options)
    trained, mimi, _ = codec.load(Path(options.codec))
    open_latents(options.latents).check_codec(trained["encoder"], options.codec)
    clips = open_corpus(options.corpus).select(split="train")
    start = started(options.start)
    tokenizer = _tokenizer(out, start, (clip.text for clip in clips))
    c = whole(shape(options, tokenizer), mimi, own)
    data = lm_options.read(options, c, tokenizer, own)
    made = lm_stage.stage(
        c.flow_lm,
        own,
        partial(_initial, c.flow_lm, data.train, start),
        data.batch,
        lm_validation.validator(c, own, data.held),
        meta=meta(c, encoder_key(trained["encoder"]), own),
        weight=objectives.importance(jnp.exp(trained["log_variance"]) / data.train.std**2),
    )
    lm_options.run(made, options, own)


def main(argv: list[str]) -> int:
    return command.main(USAGE, define, run, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
