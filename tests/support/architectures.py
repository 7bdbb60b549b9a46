"""Model configs to test with: the distinct ones among the released models, and some that only
users have; each in full size and with few channels. Nested dicts, as their YAML files read.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pocket_tts
import yaml

Tree = dict[str, Any]

_CONFIGS = Path(pocket_tts.__file__).parent / "config"


def released(name: str) -> Tree:
    """The YAML of a released model as a nested dict, without its remote paths."""
    return local(yaml.safe_load((_CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")))


def local(config: Tree) -> Tree:
    config = copy.deepcopy(config)
    config.pop("weights_path_without_voice_cloning", None)
    config["weights_path"] = "model.safetensors"
    return config


def _changed(name: str, **changes: Any) -> Tree:
    """A released config with changes, as {"flow_lm__z_dim": 5}."""
    config = released(name)
    for path, value in changes.items():
        *sections, field = path.split("__")
        node = config
        for section in sections:
            node = node[section]
        node[field] = value
    return config


FULL: dict[str, Callable[[], Tree]] = {
    "english": lambda: released("english"),
    "english_2026-01": lambda: released("english_2026-01"),
    "english_24l": lambda: released("english_2026-09_24l"),
    "english_18m": lambda: released("english_18m_2026-10"),
    "english_7m": lambda: released("english_7m_2026-10"),
    "english_2m": lambda: released("english_2m_2026-10"),
    "drifting": lambda: released("english_drifting_26-09"),
    "flow_matching": lambda: _changed("english", flow_lm__flow__type="flow_matching"),
    "low_rank": lambda: _changed(
        "english",
        flow_lm__lookup_table__rank=64,
        flow_lm__transformer__attn_dim=768,
        flow_lm__transformer__num_heads=12,
        flow_lm__transformer__num_kv_heads=4,
        flow_lm__z_dim=128,
    ),
}


def tiny(config: Tree) -> Tree:
    """The same architecture with few channels: quick to run, small to keep."""
    config = copy.deepcopy(config)
    lm, mimi = config["flow_lm"], config["mimi"]
    t, table = lm["transformer"], lm["lookup_table"]
    ratio = t["num_heads"] // (t.get("num_kv_heads") or t["num_heads"])
    t["num_heads"] = 3 if t["num_heads"] == 3 else 4
    if t.get("num_kv_heads"):
        t["num_kv_heads"] = max(1, t["num_heads"] // ratio)
    t["d_model"] = 8 * t["num_heads"]
    if t.get("attn_dim"):
        t["attn_dim"] = 8 * t["num_heads"]
        t["d_model"] += 8
    t["hidden_scale"] = min(t["hidden_scale"], 2)
    if t.get("dim_feedforward"):
        t["dim_feedforward"] = 20
    t["num_layers"] = {6: 2, 8: 3, 24: 5}[t["num_layers"]]
    table["dim"], table["n_bins"] = t["d_model"], 600
    if table.get("rank"):
        table["rank"] = 6
    if lm.get("z_dim"):
        lm["z_dim"] = 12
    lm["flow"] |= {"dim": 24, "depth": 2}

    own_decoder = mimi.get("decoder_seanet") is not None
    mimi["inner_dim"] = 16 if mimi["inner_dim"] == mimi["seanet"]["dimension"] else 8
    width = 12 if own_decoder else 16
    mimi["outer_dim"] = width
    mimi["quantizer"] = {"dimension": 8, "output_dimension": width}
    _tiny_side(mimi["seanet"], mimi["transformer"], 16, 4)
    if own_decoder:
        filters = mimi["decoder_seanet"]["n_filters"]
        _tiny_side(mimi["decoder_seanet"], mimi["decoder_transformer"], width, filters // 8 * 2)
    return config


def _tiny_side(seanet: Tree, transformer: Tree, width: int, filters: int) -> None:
    seanet |= {"dimension": width, "n_filters": filters}
    transformer |= {
        "d_model": width,
        "input_dimension": width,
        "output_dimensions": [width],
        "num_heads": 2,
        "num_layers": {2: 2, 4: 2, 12: 3}[transformer["num_layers"]],
        "context": 40 if transformer["context"] == 250 else 24,
        "dim_feedforward": 2 * width,
    }


def odd() -> Tree:
    """What the format allows and no released model uses, all at once."""
    config = tiny(_changed("english", flow_lm__flow__type="pointwise", flow_lm__z_dim=64))
    mimi = config["mimi"]
    mimi["inner_dim"] = None
    mimi["seanet"] |= {"n_residual_layers": 2, "pad_mode": "replicate"}
    mimi["transformer"] |= {"d_model": 20, "max_period": 5000.0}
    return config


TINY: dict[str, Callable[[], Tree]] = {
    name: lambda make=make: tiny(make()) for name, make in FULL.items()
} | {"odd": odd}
