"""Older and separate checkpoints of the reference -> the names of its current state dict.

Two raw kinds of file exist, one of the language model and one of the codec, whose convolutions may
still be weight-normalised. Works on dicts of arrays; which files to combine is `combine`'s part.
"""

import re
from collections.abc import Mapping

import numpy as np

from convert.names import ConvertError

Tensors = dict[str, np.ndarray]
Ignored = dict[str, str]  # tensors that are not carried over -> why

_LM_IGNORED = {
    r"flow\.w_s_t\..*": "training: loss weights",
    r"num_ema_updates": "training: counter of the moving average",
    r"condition_provider\.conditioners\.(transcript_in_segment|speaker_wavs)\.learnt_padding": (
        "training: stands for a dropped condition"
    ),
}
_LM_RENAMED = {
    "condition_provider.conditioners.transcript_in_segment.embed.weight": (
        "conditioner.embed.weight"
    ),
    "condition_provider.conditioners.speaker_wavs.output_proj.weight": "speaker_proj_weight",
    "fuser.padding_value": "bos_before_voice",
}
_CODEC_IGNORED = {
    r"model\.quantizer\.vq\..*|.*_codebook.*": "codebooks: latents are not quantised",
    r"(model\.)?quantizer\.logvar_(proj\.weight|param)": "training: variance of the latents",
    r".*wavlm_emb_downsample.*|wavlm_input_resample\.kernel|wavlm_proj\.weight": (
        "training: distillation of another model"
    ),
}


def language_model(tensors: Mapping[str, np.ndarray]) -> tuple[Tensors, Ignored]:
    """A `flow_lm.weights_path` file as `flow_lm.*` tensors."""
    found: Tensors = {}
    ignored: Ignored = {}
    for name, tensor in tensors.items():
        if reason := _reason(name, _LM_IGNORED):
            ignored[name] = reason
        else:
            new = _LM_RENAMED.get(name, name)
            new = new.replace(".self_attn.in_proj_weight", ".self_attn.in_proj.weight")
            found[f"flow_lm.{new}"] = tensor
    return found, ignored


def codec(tensors: Mapping[str, np.ndarray]) -> tuple[Tensors, Ignored]:
    """A `mimi.weights_path` file as `mimi.*` tensors; a whole bundle serves too."""
    if any(name.startswith("mimi.") for name in tensors):
        return _split(tensors, "mimi.", "not of the codec")
    found: Tensors = {}
    ignored: Ignored = {}
    problems: list[str] = []
    for name, tensor in tensors.items():
        if reason := _reason(name, _CODEC_IGNORED):
            ignored[name] = reason
        elif name.endswith((".weight_g", ".weight_v")):
            stem, kind = name[:-2], name[-1]
            partner = f"{stem}_{'v' if kind == 'g' else 'g'}"
            if partner not in tensors:
                problems.append(f"{name} stands without its {partner}")
            elif kind == "g":
                found[_codec_name(stem)] = fold(tensor, tensors[partner])
        else:
            found[_codec_name(name)] = tensor
    if problems:
        raise ConvertError(problems)
    return found, ignored


def _codec_name(name: str) -> str:
    name = name.removeprefix("model.").replace("in_proj_weight", "in_proj.weight")
    return "mimi." + name.replace(".conv.conv.", ".conv.").replace(".convtr.convtr.", ".convtr.")


def _reason(name: str, table: Mapping[str, str]) -> str | None:
    return next((why for pattern, why in table.items() if re.fullmatch(pattern, name)), None)


def _split(tensors: Mapping[str, np.ndarray], prefix: str, why: str) -> tuple[Tensors, Ignored]:
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return kept, {name: why for name in tensors if name not in kept}


def fold(g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A weight-normalised weight: v scaled to length g along all axes but the first."""
    v = np.asarray(v, np.float32)
    axes = tuple(range(1, v.ndim))
    norm = np.sqrt(np.square(v, dtype=np.float64).sum(axes, keepdims=True))
    scale = np.zeros(norm.shape, np.float32)  # a zeroed row has no direction and stays zero
    np.divide(np.asarray(g, np.float32), norm.astype(np.float32), out=scale, where=norm > 0)
    return v * scale


def combine(
    bundle: Mapping[str, np.ndarray] | None,
    language_model_file: Mapping[str, np.ndarray] | None,
    codec_file: Mapping[str, np.ndarray] | None,
) -> tuple[Tensors, Ignored]:
    """One state dict from the files a config names; a codec file overrides the bundle's codec."""
    found: Tensors = {}
    ignored: Ignored = {}
    if bundle is not None:
        found.update(bundle)
    elif language_model_file is not None:
        tensors, left = language_model(language_model_file)
        found.update(tensors)
        ignored.update(left)
    if codec_file is not None:
        kept = {name: x for name, x in found.items() if not name.startswith("mimi.")}
        ignored.update(
            (name, "replaced by the separate codec file") for name in found.keys() - kept
        )
        found = kept
        tensors, left = codec(codec_file)
        found.update(tensors)
        ignored.update(left)
    return found, ignored
