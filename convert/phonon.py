"""Phonon's checkpoints -> the reference's: the names of tensors, and the config.

They are models of the reference's architecture: of the same weights, their runtime makes what ours
makes (tests/convert/test_phonon_live.py), but that its decoder looks back up to a frame further
than the config says. What a checkpoint may have beyond that is refused by name. Knows no files and
no jax.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]

_CONDITIONS = "flow_lm.condition_provider.conditioners."
_SPEAKER = "flow_lm.speaker_proj_weight"
_DEFAULTS = {"duration_delta": "0.0"}
_RENAMED = (
    (f"{_CONDITIONS}speaker_wavs.output_proj.weight", _SPEAKER),
    (f"{_CONDITIONS}transcript_in_segment.", "flow_lm.conditioner."),
    ("flow_lm.conditioner.output_proj.", "flow_lm.conditioner.proj."),
    ("flow_lm.backbone.", "flow_lm.transformer."),
    ("flow_lm.flow.", "flow_lm.flow_net."),
    ("mimi.model.", "mimi."),
)
# Of training, or for guidance, which we have not.
_UNUSED = r"flow_lm\.flow_net\.w_s_t.*|.*learnt_padding|mimi\.quantizer\.(vq|logvar).*"
_ENCODER = ("mimi.encoder.", "mimi.encoder_transformer.", "mimi.downsample.")


def tensors(found: Mapping[str, np.ndarray]) -> Tensors:
    """Under the reference's names, without what is not used."""
    renamed = {_name(name): tensor for name, tensor in found.items()}
    return {name: x for name, x in renamed.items() if not re.fullmatch(_UNUSED, name)}


def _name(name: str) -> str:
    for theirs, ours in _RENAMED:
        name = name.replace(theirs, ours)
    return name


def encodes(found: Mapping[str, np.ndarray]) -> bool:
    """Whether tensors (under the reference's names) can clone a voice."""
    return _SPEAKER in found and all(any(n.startswith(p) for n in found) for p in _ENCODER)


def without_encoder(found: Mapping[str, np.ndarray]) -> Tensors:
    """Those that speak."""
    prefixes = (*_ENCODER, "speaker_mimi.", _SPEAKER)
    return {name: tensor for name, tensor in found.items() if not name.startswith(prefixes)}


def prompt(found: Mapping[str, np.ndarray], width: int) -> np.ndarray | None:
    """The embeddings [1, T, width] that a file of a voice holds, if it does."""
    x = found.get("emb", next(iter(found.values())) if len(found) == 1 else None)
    if x is None or x.ndim not in (2, 3) or x.shape[-1] != width or x.ndim == 3 and len(x) != 1:
        return None
    return np.asarray(x, np.float32).reshape(1, -1, width)


def conditioned(
    found: Mapping[str, np.ndarray], config: Any, values: Mapping[str, str]
) -> tuple[Tensors, list[str]]:
    """With the conditions of these values as a bias of what becomes of each latent, without what
    they are made of; and what they were. Only the pace has a default value, as for theirs."""
    conditioners = {one["name"]: one for one in config.get("conditioners") or ()}
    if unknown := values.keys() - conditioners.keys():
        there = ", ".join(conditioners) or "none"
        raise ValueError(f"no condition {sorted(unknown)[0]!r} (there is {there})")
    known = tuple(f"{_CONDITIONS}{name}." for name in conditioners)
    spoken = {name: x for name, x in found.items() if not name.startswith(known)}
    added, shown = [], []
    for name, about in conditioners.items():
        value = values.get(name, _DEFAULTS.get(name))
        if value is None:
            raise ValueError(f"the model needs a value of {name}: give --condition={name}=VALUE")
        try:
            embedded = _embedded(about, value, found.get(f"{_CONDITIONS}{name}.embed.weight"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"config.json does not say what {name} is ({error})") from None
        projection = found.get(f"{_CONDITIONS}{name}.output_proj.weight")
        added.append(embedded if projection is None else np.float32(projection) @ embedded)
        shown.append(f"{name}={value}")
    if added:
        spoken["flow_lm.input_linear.bias"] = np.sum(added, axis=0, dtype=np.float32)
    return spoken, shown


def _embedded(about: Mapping[str, Any], value: str, table: np.ndarray | None) -> np.ndarray:
    """A value before its projection: a row of a table, or waves of a number."""
    name = about["name"]
    if about["type"] == "lut":
        possible = about["lut"]["possible_values"]
        if value not in possible or table is None:
            raise ValueError(f"condition {name}={value}: give one of {', '.join(possible)}")
        return np.asarray(table[possible.index(value)], np.float32)
    waves = about["continuous"]
    half = waves["dim"] // 2
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"condition {name}={value}: give a number")
    phases = (
        number
        * waves["scale_factor"]
        / waves.get("max_period", 10_000.0) ** (np.arange(half) / max(half - 1, 1))
    )
    return np.concatenate([np.cos(phases), np.sin(phases)]).astype(np.float32)


def describe(config: Any, found: Mapping[str, np.ndarray], tokenizer: str) -> dict[str, Any]:
    """The reference's config of a checkpoint with this config.json and these (renamed) tensors."""
    try:
        problems = list(_foreign(config))
        described = _described(config, "flow_lm.conditioner.proj.weight" in found, tokenizer)
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"not the config of a Phonon checkpoint ({error})") from None
    if problems:
        raise ValueError(f"the model has what this one has not: {', '.join(problems)}")
    return described


def _foreign(config: Mapping[str, Any]) -> Iterator[str]:
    for conditioner in config.get("conditioners") or ():
        if conditioner["type"] not in ("lut", "continuous"):
            yield f"a conditioner of the type {conditioner['type']}"
        if "fuser" in config and conditioner["name"] not in config["fuser"]["sum"]:
            yield f"the condition {conditioner['name']} outside of the fuser's sum"
    for field in ("prefix_sinks", "voices"):
        if config.get(field):
            yield field
    if config["flow_lm"].get("time_rms_norm", "rms_var") != "rms_var":
        yield f"time_rms_norm {config['flow_lm']['time_rms_norm']}"
    if config["lsd_decode_steps"] != 1:
        yield f"lsd_decode_steps {config['lsd_decode_steps']}"


def _described(config: Mapping[str, Any], projected: bool, tokenizer: str) -> dict[str, Any]:
    lm, codec = config["flow_lm"], config["mimi"]
    width = codec["transformer_d_model"]
    table = {"dim": lm["d_model"], "n_bins": lm["n_bins"]}
    if projected:
        table["rank"] = lm["lut_dim"]
    bias = {"input_bias": True} if config.get("conditioners") else {}
    return {
        "flow_lm": bias
        | {
            "dtype": "float32",
            "flow": {"dim": lm["flow_dim"], "depth": lm["flow_depth"], "type": "lsd"},
            "transformer": {
                "hidden_scale": max(1, lm["dim_feedforward"] // lm["d_model"]),
                "dim_feedforward": lm["dim_feedforward"],
                "max_period": lm["max_period"],
                "d_model": lm["d_model"],
                "num_heads": lm["num_heads"],
                "num_layers": lm["num_layers"],
            },
            "lookup_table": table | {"tokenizer": "tokenizers", "tokenizer_path": tokenizer},
        },
        "mimi": {
            "dtype": "float32",
            "sample_rate": codec["sample_rate"],
            "channels": codec["channels"],
            "frame_rate": codec["frame_rate"],
            "seanet": {
                "pad_mode": "constant",
                **{name: codec[name] for name in _SEANET},
            },
            "transformer": {
                "d_model": width,
                "input_dimension": codec["dimension"],
                "output_dimensions": [codec["dimension"]],
                **{name: codec[f"transformer_{name}"] for name in _TRANSFORMER},
            },
            "quantizer": {
                "dimension": codec["quantizer_dimension"],
                "output_dimension": codec["quantizer_output_dimension"],
            },
            "inner_dim": codec["dimension"],
            "outer_dim": codec["quantizer_output_dimension"],
        },
        "default_temperature": config["temp"],
        "default_eos_threshold": config["eos_threshold"],
    }


_SEANET = ("dimension", "channels", "n_filters", "n_residual_layers", "ratios", "kernel_size")
_SEANET += ("residual_kernel_size", "last_kernel_size", "dilation_base", "compress")
_TRANSFORMER = ("num_heads", "num_layers", "layer_scale", "context", "max_period")
_TRANSFORMER += ("dim_feedforward",)
