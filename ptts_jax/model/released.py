"""What has been released: 27 models and 27 voices. The data are in released.json.

There, `models` has for each model the revision of its weights with voice cloning (`gated`) and
without (`public`), the file of its tokenizer, and how its config differs from `base`: by a shape
and by rules for texts. `heads` are the attention heads that follow the text, as they were found by
github.com/dpm63/pocket-tts-timestamped (README of revision 0f1e484). Knows nothing of the Config
types, of files or of downloads.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

from ptts_jax.model.schema import near

_DATA = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_MODELS: dict[str, dict[str, str]] = _DATA["models"]
VOICES: dict[str, str] = _DATA["voices"]  # name: the recording behind it

_GATED = "hf://kyutai/pocket-tts/languages"
_PUBLIC = "hf://kyutai/pocket-tts-without-voice-cloning"
_VOICE_STATES = "a7056f505a4a8ca72d8b5fb1440071d6f1a35739"  # the revision that has all of them


def names() -> tuple[str, ...]:
    """The released models, the default one first."""
    return tuple(_MODELS)


def check_model(model: str) -> None:
    """Refuse a name that is not a released model."""
    if model not in _MODELS:
        hint = near(model, _MODELS) or f"; the released ones are {', '.join(_MODELS)}"
        raise ValueError(f"unknown model {model!r}{hint}")


def describe(model: str) -> dict[str, Any]:
    """What the model's YAML file says."""
    check_model(model)
    row = _MODELS[model]
    files = {
        "weights_path": f"{_GATED}/{model}/model.safetensors@{row['gated']}",
        "weights_path_without_voice_cloning": (
            f"{_PUBLIC}/languages/{model}/model.safetensors@{row['public']}"
        ),
        "flow_lm": {"lookup_table": {"tokenizer_path": f"{_PUBLIC}/{row['tokenizer']}"}},
    }
    shape = _DATA["shapes"][row["shape"]] if "shape" in row else {}
    described = copy.deepcopy(_DATA["base"])
    for changes in (shape, _DATA["texts"][row["text"]], files):
        _update(described, changes)
    return described


def language(model: str) -> str:
    """The language a released model speaks: `french` for `french_24l`."""
    check_model(model)
    return model.split("_")[0]


def default_voice(model: str | None) -> str:
    """The voice of a user who names none; for a model of one's own (None) a recording to clone,
    since predefined voices are states of the released weights."""
    if model is None:
        return VOICES["alba"]
    return _DATA["languages"][language(model)]["voice"]


def default_text(model: str | None) -> str:
    """Something to say, in the model's language."""
    return _DATA["languages"]["english" if model is None else language(model)]["greeting"]


def sentences(model: str | None) -> tuple[str, ...]:
    """A few more to learn from how a model speaks, in its language."""
    spoken = _DATA["languages"]["english" if model is None else language(model)]
    return (spoken["greeting"], *spoken["sentences"])


def heads(model: str) -> tuple[tuple[int, int], ...]:
    """(layer, head) of the attention heads that follow the text, where somebody published them."""
    named = re.findall(r"L(\d+)H(\d+)", _DATA["heads"].get(model, ""))
    return tuple((int(layer), int(head)) for layer, head in named)


def voice_url(model: str, voice: str) -> str:
    """Where the state of a predefined voice lies, made with that model's weights."""
    check_model(model)
    if voice not in VOICES:
        hint = near(voice, VOICES) or f"; the predefined ones are {', '.join(VOICES)}"
        raise ValueError(f"unknown voice {voice!r}{hint}")
    return f"{_PUBLIC}/languages/{model}/embeddings/{voice}.safetensors@{_VOICE_STATES}"


def _update(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Write `changes` over `target`, section by section."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _update(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
