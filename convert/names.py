"""The reference's tensors <-> our parameter tree, by name: total and exact.

The reference's names are those of its whole model's state dict (`flow_lm.*`, `mimi.*`); ours are
paths in {"lm": ..., "codec": {"decoder": ..., "encoder": ...}}. All counts (layers, ratios, blocks)
are read off the tree's own names. Knows no configs, no files and no jax.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.layouts import CONV, DEPTHWISE, POINTWISE, SAME, VECTOR, Layout, stacked, transposed
from convert.tree import flatten, unflatten

Shape = tuple[int, ...]

_SHOWN = 8  # problems spelled out in an error; the rest is counted


class ConvertError(ValueError):
    """Tensors that do not fit; `problems` lists every one, `origin` is the file or files."""

    def __init__(self, problems: list[str], origin: str = ""):
        self.problems = tuple(problems)
        shown = "; ".join(problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        prefix = f"{origin}: " if origin else ""
        super().__init__(f"{prefix}the weights do not fit the model's config: {shown}{more}")


@dataclass(frozen=True)
class Rule:
    """Where one tensor of ours comes from."""

    sources: tuple[str, ...]
    layout: Layout


# Ours -> the reference's; `#` stands for any number, the same on both sides.
_BLOCK = {
    "norm1/scale": "norm1.weight",
    "norm1/bias": "norm1.bias",
    "in_proj/w": "self_attn.in_proj.weight",
    "out_proj/w": "self_attn.out_proj.weight",
    "scale1": "layer_scale_1.scale",
    "norm2/scale": "norm2.weight",
    "norm2/bias": "norm2.bias",
    "up/w": "linear1.weight",
    "down/w": "linear2.weight",
    "scale2": "layer_scale_2.scale",
}
_NAMES = {
    "lm/text/table": "flow_lm.conditioner.embed.weight",
    "lm/text/proj/w": "flow_lm.conditioner.proj.weight",
    "lm/speaker/w": "flow_lm.speaker_proj_weight",
    "lm/input/w": "flow_lm.input_linear.weight",
    "lm/input/b": "flow_lm.input_linear.bias",
    "lm/bos": "flow_lm.bos_emb",
    "lm/bos_voice": "flow_lm.bos_before_voice",
    "lm/mean": "flow_lm.emb_mean",
    "lm/std": "flow_lm.emb_std",
    "lm/backbone/norm/scale": "flow_lm.out_norm.weight",
    "lm/backbone/norm/bias": "flow_lm.out_norm.bias",
    "lm/backbone/z_proj/w": "flow_lm.z_proj.weight",
    "lm/eos/w": "flow_lm.out_eos.weight",
    "lm/eos/b": "flow_lm.out_eos.bias",
    "lm/head/modulation/cond/w": "flow_lm.flow_net.cond_embed.weight",
    "lm/head/modulation/cond/b": "flow_lm.flow_net.cond_embed.bias",
    "lm/head/net/input/w": "flow_lm.flow_net.input_proj.weight",
    "lm/head/net/input/b": "flow_lm.flow_net.input_proj.bias",
    "lm/head/net/norm_#/scale": "flow_lm.flow_net.res_blocks.#.in_ln.weight",
    "lm/head/net/norm_#/bias": "flow_lm.flow_net.res_blocks.#.in_ln.bias",
    "lm/head/net/in_#/w": "flow_lm.flow_net.res_blocks.#.mlp.0.weight",
    "lm/head/net/in_#/b": "flow_lm.flow_net.res_blocks.#.mlp.0.bias",
    "lm/head/net/out_#/w": "flow_lm.flow_net.res_blocks.#.mlp.2.weight",
    "lm/head/net/out_#/b": "flow_lm.flow_net.res_blocks.#.mlp.2.bias",
    "lm/head/net/final/w": "flow_lm.flow_net.final_layer.linear.weight",
    "lm/head/net/final/b": "flow_lm.flow_net.final_layer.linear.bias",
    "lm/head/times/time_#/freqs": "flow_lm.flow_net.time_embed.#.freqs",
    "lm/head/times/time_#/in/w": "flow_lm.flow_net.time_embed.#.mlp.0.weight",
    "lm/head/times/time_#/in/b": "flow_lm.flow_net.time_embed.#.mlp.0.bias",
    "lm/head/times/time_#/out/w": "flow_lm.flow_net.time_embed.#.mlp.2.weight",
    "lm/head/times/time_#/out/b": "flow_lm.flow_net.time_embed.#.mlp.2.bias",
    "lm/head/times/time_#/norm/alpha": "flow_lm.flow_net.time_embed.#.mlp.3.alpha",
    "codec/decoder/quantizer/w": "mimi.quantizer.output_proj.weight",
    "codec/decoder/upsample/w": "mimi.upsample.convtr.convtr.weight",
    "codec/decoder/transformer/input/w": "mimi.decoder_transformer.input_proj.weight",
    "codec/decoder/transformer/output/w": "mimi.decoder_transformer.output_projs.0.weight",
    "codec/encoder/transformer/input/w": "mimi.encoder_transformer.input_proj.weight",
    "codec/encoder/transformer/output/w": "mimi.encoder_transformer.output_projs.0.weight",
    "codec/encoder/downsample/w": "mimi.downsample.conv.conv.weight",
}
for _ours, _theirs in (
    ("lm/backbone", "flow_lm.transformer"),
    ("codec/decoder/transformer", "mimi.decoder_transformer.transformer"),
    ("codec/encoder/transformer", "mimi.encoder_transformer.transformer"),
):
    for _name, _source in _BLOCK.items():
        _NAMES[f"{_ours}/layers/layer_#/{_name}"] = f"{_theirs}.layers.#.{_source}"

_LAYOUTS = {
    "lm/bos_voice": VECTOR,
    "codec/decoder/quantizer/w": POINTWISE,
    "codec/decoder/upsample/w": DEPTHWISE,
    "codec/encoder/downsample/w": CONV,
}


def rules(shapes: Mapping[str, Shape]) -> dict[str, Rule]:
    """How every tensor of a tree with these (flat) names and shapes comes about."""
    found = {path: _rule(path, shapes) for path in shapes}
    unknown = [f"no rule for our own tensor {path}" for path, rule in found.items() if rule is None]
    if unknown:
        raise ConvertError(unknown)
    return {path: rule for path, rule in found.items() if rule is not None}


def _rule(path: str, shapes: Mapping[str, Shape]) -> Rule | None:
    if match := re.fullmatch(r"lm/head/modulation/all/([wb])", path):
        return _modulation_rule(match[1], shapes)
    if match := re.fullmatch(r"codec/(encoder|decoder)/seanet/(.+)/([wb])", path):
        return _seanet_rule(*match.groups(), shapes)
    numbers = re.findall(r"(?<=_)\d+", path)
    source = _NAMES.get(re.sub(r"(?<=_)\d+", "#", path))
    if source is None or source.count("#") != len(numbers):
        return None
    for number in numbers:
        source = source.replace("#", number, 1)
    return Rule((source,), _LAYOUTS.get(path, SAME))


def _modulation_rule(kind: str, shapes: Mapping[str, Shape]) -> Rule:
    """(shift, scale, gate) of every block, then (shift, scale) of the final layer."""
    depth = sum(re.fullmatch(r"lm/head/net/norm_\d+/scale", path) is not None for path in shapes)
    owners = [f"res_blocks.{i}" for i in range(depth)] + ["final_layer"]
    suffix = {"w": "weight", "b": "bias"}[kind]
    sources = tuple(f"flow_lm.flow_net.{owner}.adaLN_modulation.1.{suffix}" for owner in owners)
    return Rule(sources, stacked([3] * depth + [2]))


def _seanet_rule(side: str, name: str, kind: str, shapes: Mapping[str, Shape]) -> Rule | None:
    """The reference numbers the layers of a SEANet in one list, activations included."""
    prefix = f"codec/{side}/seanet/"
    resampler = {"encoder": "down", "decoder": "up"}[side]

    def count(pattern: str) -> int:
        return sum(re.fullmatch(f"{prefix}{pattern}/w", path) is not None for path in shapes)

    stages = count(rf"{resampler}_\d+")
    residuals = count(r"res_0_\d+_in")
    # A stage is an activation, its resampling and its residual blocks; these come first in
    # the encoder and last in the decoder.
    before = residuals if side == "encoder" else 0
    stage_start = [1 + i * (residuals + 2) for i in range(stages + 1)]
    if name == "first":
        layer = "0.conv"
    elif name == "last":
        layer = f"{stage_start[stages] + 1}.conv"
    elif match := re.fullmatch(rf"{resampler}_(\d+)", name):
        conv = "conv" if side == "encoder" else "convtr"
        layer = f"{stage_start[int(match[1])] + before + 1}.{conv}"
    elif match := re.fullmatch(r"res_(\d+)_(\d+)_(in|out)", name):
        offset = int(match[2]) + (0 if side == "encoder" else 2)
        block = {"in": 1, "out": 3}[match[3]]
        layer = f"{stage_start[int(match[1])] + offset}.block.{block}.conv"
    else:
        return None
    if kind == "b":
        return Rule((f"mimi.{side}.model.{layer}.bias",), SAME)
    layout = transposed(shapes[f"{prefix}{name}/b"][0]) if "convtr" in layer else CONV
    return Rule((f"mimi.{side}.model.{layer}.weight",), layout)


def from_reference(
    tensors: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> dict[str, Any]:
    """The reference's tensors as our tree of float32 arrays (views of the source where possible).

    `template` is a nested dict of shapes. Every tensor of either side must find its partner; all
    misfits are reported in one ConvertError.
    """
    shapes = flatten(template)
    problems: list[str] = []
    flat: dict[str, np.ndarray] = {}
    used: set[str] = set()
    for path, rule in rules(shapes).items():
        blank = np.broadcast_to(np.float32(0), shapes[path])  # takes no memory
        wanted = [part.shape for part in rule.layout.write(blank)]
        wrong = [
            problem
            for name, shape in zip(rule.sources, wanted, strict=True)
            if (problem := _misfit(name, tensors.get(name), shape))
        ]
        used.update(rule.sources)
        problems += wrong
        if not wrong:
            parts = [np.asarray(tensors[name], np.float32) for name in rule.sources]
            flat[path] = np.ascontiguousarray(rule.layout.read(parts))
    problems += [f"{name} has no place in the model" for name in tensors if name not in used]
    if problems:
        raise ConvertError(problems)
    return unflatten(flat)


def _misfit(name: str, tensor: np.ndarray | None, shape: Shape) -> str | None:
    if tensor is None:
        return f"{name} {list(shape)} is missing"
    if tuple(tensor.shape) != shape:
        return f"{name} is {list(tensor.shape)}, should be {list(shape)}"
    if tensor.dtype.name not in ("float32", "float16", "bfloat16", "float64"):
        return f"{name} holds {tensor.dtype.name}, should be floating point"
    return None


def to_reference(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our tree as the reference's state dict, float32: the inverse of `from_reference`."""
    flat = {path: np.asarray(leaf, np.float32) for path, leaf in flatten(params).items()}
    tensors: dict[str, np.ndarray] = {}
    for path, rule in rules({path: leaf.shape for path, leaf in flat.items()}).items():
        parts = rule.layout.write(flat[path])
        tensors.update(zip(rule.sources, map(np.ascontiguousarray, parts), strict=True))
    return tensors
