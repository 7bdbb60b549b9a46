"""The weights of FARGAN out of the source of Opus 1.5, where they stand as text.

    apt-get source opus   # Debian 13 or later: opus-1.5.2/dnn/fargan_data.c

Opus and these weights are under a licence of the BSD kind, see its COPYING.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ptts_jax.model import vocoder
from ptts_jax.model.pytree import Params

NAME = "dnn/fargan_data.c"
_ARRAY = re.compile(r"static const (?:float|opus_int8) (\w+)\[\d+\] = \{([^}]*)\}")
_GRU = {
    f"gru_{i}_{ours}": f"sig_net_gru{i + 1}_{theirs}"
    for i in range(len(vocoder.GRUS))
    for ours, theirs in (("input", "input"), ("state", "recurrent"), ("gate", "glu_gate"))
}
# Our layers by their names in Opus.
STEP = {
    "step_in": "cond_net_fdense1",
    "steps": "cond_net_fconv1",
    "step_out": "cond_net_fdense2",
}
SUBFRAME = {
    "gain": "sig_net_cond_gain_dense",
    "first": "sig_net_fwc0_conv",
    "first_gate": "sig_net_fwc0_glu_gate",
    "shares": "sig_net_gain_dense_out",
    **_GRU,
    "skip": "sig_net_skip_dense",
    "skip_gate": "sig_net_skip_glu_gate",
    "out": "sig_net_sig_dense_out",
}


def read(folder: str | Path) -> Params:
    """The vocoder's parameters from a folder with the source of Opus."""
    path = Path(folder) / NAME
    if not path.is_file():
        raise ValueError(
            f"{folder}: no source of Opus 1.5 ({NAME} is missing): get it with apt-get source opus"
        )
    arrays = {
        name: np.array([float(v.rstrip("f")) for v in values.split(",") if v], np.float32)
        for name, values in _ARRAY.findall(re.sub(r"\s", " ", path.read_text()).replace(", ", ","))
    }
    params: Params = {ours: _linear(arrays, theirs) for ours, theirs in STEP.items()}
    table = arrays["cond_net_pembed_weights_float"]
    params["pitches"] = table.reshape(vocoder.PITCHES, vocoder.PITCH_WIDTH)
    params["subframe"] = {ours: _linear(arrays, theirs) for ours, theirs in SUBFRAME.items()}
    return params


def _linear(arrays: dict[str, np.ndarray], name: str) -> Params:
    """w [out, in] as a float; and a bias, but for the GRUs' products, which have none."""
    if (scale := arrays.get(f"{name}_scale")) is not None:
        # Blocks of 8 outputs by 4 inputs; what they are multiplied with was rounded to 1 / 127.
        blocks = arrays[f"{name}_weights_int8"].reshape(len(scale) // 8, -1, 8, 4)
        w = blocks.swapaxes(1, 2).reshape(len(scale), -1) * (127 * scale[:, None])
    else:
        bias = arrays[f"{name}_bias"]
        w = arrays[f"{name}_weights_float"].reshape(-1, len(bias)).T
    layer = {"w": np.ascontiguousarray(w, np.float32)}
    return layer | {"b": bias} if (bias := arrays.get(f"{name}_bias")) is not None else layer
