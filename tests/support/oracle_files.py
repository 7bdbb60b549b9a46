"""Other files that the reference reads, made from an oracle: raw checkpoints, public weights, voice
states, and YAML files that name them.
"""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
import yaml
from pocket_tts.models.model_state import export_model_state
from pocket_tts.models.tts_model import TTSModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.oracle import Oracle
from tests.support.prompts import prompt_audio


def write_voice(
    model: TTSModel, path: str | Path, *, seconds: float = 1.0, old: bool = False
) -> Any:
    """A voice-state file made by the reference (`old`: with `current_end`); gives the state too."""
    state = model.get_state_for_audio_prompt(torch.tensor(prompt_audio(seconds))[None])
    stored = copy.deepcopy(state)
    if old:
        for module in stored.values():
            module["current_end"] = torch.zeros(int(module.pop("offset")))
            del module["pad"]
    export_model_state(stored, path)
    return state


def write_public(oracle: Oracle, path: str | Path) -> Path:
    """The weights as published without voice cloning: the encoder is zeros."""
    tensors = load_file(oracle.weights)
    encoder = ("mimi.encoder.", "mimi.encoder_transformer.", "mimi.downsample.")
    save_file({k: x * 0 if k.startswith(encoder) else x for k, x in tensors.items()}, path)
    return Path(path)


def halve(oracle: Oracle) -> None:
    """The weights as the released files hold them: in bfloat16."""
    tensors = {name: x.bfloat16() for name, x in load_file(oracle.weights).items()}
    save_file(tensors, oracle.weights)


_RAW_LM = {
    "conditioner.embed.weight": (
        "condition_provider.conditioners.transcript_in_segment.embed.weight"
    ),
    "speaker_proj_weight": "condition_provider.conditioners.speaker_wavs.output_proj.weight",
    "bos_before_voice": "fuser.padding_value",
}


def write_raw(oracle: Oracle, folder: str | Path, *, weight_norm: bool = True) -> tuple[Path, Path]:
    """The weights in the older raw layouts: (language model file, codec file)."""
    lm: dict[str, Tensor] = {
        "num_ema_updates": torch.tensor(7),
        "flow.w_s_t.weight": torch.ones(3),
        "condition_provider.conditioners.transcript_in_segment.learnt_padding": torch.ones(1, 1, 4),
        "condition_provider.conditioners.speaker_wavs.learnt_padding": torch.ones(1, 1, 4),
    }
    codec: dict[str, Tensor] = {
        "model.quantizer.vq.layers.0.weight": torch.ones(3),
        "quantizer.rvq._codebook.embedding_sum": torch.ones(3),
        "quantizer.logvar_proj.weight": torch.ones(3),
        "quantizer.logvar_param": torch.ones(3),
        "wavlm_proj.weight": torch.ones(3),
        "wavlm_emb_downsample.conv.conv.bias": torch.ones(3),
    }
    for name, x in load_file(oracle.weights).items():
        part, name = name.split(".", 1)
        if part == "flow_lm":
            name = _RAW_LM.get(name, name)
            lm[name.replace(".self_attn.in_proj.weight", ".self_attn.in_proj_weight")] = x
            continue
        raw = name.replace("in_proj.weight", "in_proj_weight")
        raw = raw.replace(".convtr.", ".convtr.convtr.", 1).replace(".conv.", ".conv.conv.", 1)
        if weight_norm and name.startswith(("encoder.", "decoder.")) and name.endswith(".weight"):
            length = x.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            codec[f"{raw}_g"] = length
            codec[f"{raw}_v"] = x * torch.linspace(0.5, 2.0, len(x)).reshape(-1, 1, 1)
        else:
            codec[raw if weight_norm else f"model.{raw}"] = x
    paths = Path(folder) / "raw_lm.safetensors", Path(folder) / "raw_codec.safetensors"
    for path, tensors in zip(paths, (lm, codec), strict=True):
        save_file({name: x.contiguous() for name, x in tensors.items()}, path)
    return paths


def rewrite(oracle: Oracle, path: str | Path, **weights: Any) -> Oracle:
    """The same model under another YAML file: `lm`, `codec`, `bundle` and `public` weights."""
    config = yaml.safe_load(oracle.yaml.read_text(encoding="utf-8"))
    text = {name: None if value is None else str(value) for name, value in weights.items()}
    config["flow_lm"]["weights_path"] = text.get("lm")
    config["mimi"]["weights_path"] = text.get("codec")
    config["weights_path"] = text.get("bundle")
    config["weights_path_without_voice_cloning"] = text.get("public")
    Path(path).write_text(yaml.safe_dump(config), encoding="utf-8")
    return dataclasses.replace(oracle, yaml=Path(path))
