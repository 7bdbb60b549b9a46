"""A source of Opus 1.5 with other weights."""

import jax
import numpy as np

from ptts_jax.model import vocoder
from ptts_jax.train.codec import fargan


def opus(folder, scale=0.25, bias=1.5):
    """A source whose arrays count up, as Opus lays its own out."""
    shapes = jax.eval_shape(
        lambda key: vocoder.Vocoder().init(
            key, np.zeros((1, 1, 20), np.float32), vocoder.VocoderState.init(1)
        ),
        jax.random.key(0),
    )["params"]
    lines = []

    def array(kind, name, values):
        text = ", ".join(map(str, values))
        lines.append(f"static const {kind} {name}[{len(values)}] = {{\n   {text}\n}};")

    def layer(name, leaf):
        out, width = leaf["w"].shape
        if width % 4 or out % 8:
            array("float", f"{name}_weights_float", [0.5] * (out * width))
        else:
            array("opus_int8", f"{name}_weights_int8", np.arange(out * width) % 100)
            array("float", f"{name}_scale", [scale] * out)
        if "b" in leaf:
            array("float", f"{name}_bias", [bias] * out)

    for ours, theirs in fargan.STEP.items():
        layer(theirs, shapes[ours])
    for ours, theirs in fargan.SUBFRAME.items():
        layer(theirs, shapes["subframe"][ours])
    array("float", "cond_net_pembed_weights_float", np.arange(224 * 12))
    (folder / "dnn").mkdir(parents=True)
    (folder / fargan.NAME).write_text("\n".join(lines))
    return folder, shapes
