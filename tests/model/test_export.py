"""Every compiled function lowers for accelerators, with nothing of the CPU's in it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptts_jax.model import generate, lm
from ptts_jax.model.caches.full import FullCache
from ptts_jax.model.codec import encoder_state
from ptts_jax.store import bfloat16, quantization
from tests.support import tiny

BATCH, FRAMES = 2, 3


def _params(config, kind: str):
    params = tiny.params(config)
    if kind == "bfloat16":
        halve = lambda x: x.astype(jnp.bfloat16) if x.ndim > 1 else x  # noqa: E731
        return jax.tree.map(halve, params)
    return quantization.quantize(params, quantization.parse("all")) if kind == "int8" else params


def _calls(params, c):
    """Each function by its name, with arguments."""
    shape = lm.cache_shape(params["lm"], c.flow_lm, BATCH, 64)
    rows = np.zeros(BATCH, np.int32)
    noise = np.zeros((FRAMES, BATCH, c.mimi.latent_dim), np.float32)
    tokens, count = np.zeros((BATCH, 16), np.int32), np.full(BATCH, 5, np.int32)
    begun = params, c, 1, FullCache.init(shape), rows, rows + 9, rows.astype(np.float32)
    state = generate.begin(*begun)
    embedded = lm.embed_text(params["lm"], c.flow_lm, tokens)
    decoder, encoder = generate.new_decoder(c.mimi, BATCH), encoder_state(c.mimi, BATCH)
    latents, wave = noise.swapaxes(0, 1), np.zeros((BATCH, 2 * c.mimi.frame_size), np.float32)
    begun = (*begun[:3], FullCache.init(shape), *begun[4:])
    one = generate.take(state, np.int32(0))
    return {
        "begin": (generate.begin, begun),
        "insert": (generate.insert, (state, one, np.int32(1))),
        "take": (generate.take, (state, np.int32(0))),
        "release": (generate.release, (state, np.int32(1))),
        "prefill": (generate.prefill, (params, c, state, embedded, count)),
        "prefill_text": (generate.prefill_text, (params, c, state, tokens, count)),
        "first": (generate.first, (params, c, state, tokens, count, noise[0])),
        "step": (generate.step, (params, c, state, noise[0])),
        "scan_steps": (generate.scan_steps, (params, c, state, noise)),
        "several": (generate.several, (params, c, state, noise, np.int32(2))),
        "decode": (generate.decode, (params, c, decoder, latents)),
        "encode": (generate.encode, (params, c, encoder, wave)),
    }


def _exported(function, args, *platforms: str) -> str:
    return jax.export.export(function.jitted, platforms=platforms)(*args).mlir_module()


@pytest.mark.parametrize(
    ("kind", "config"),
    [("float32", tiny.PLAIN), ("bfloat16", tiny.PLAIN), ("int8", tiny.RICH)],
    ids=["float32", "bfloat16", "int8"],
)
def test_every_function_lowers_for_accelerators(config, kind):
    for name, (function, args) in _calls(_params(config, kind), config).items():
        module = _exported(function, args, "cuda", "tpu")
        assert not re.findall(r"custom_call @\S+", module), name


def test_on_the_cpu_the_same_functions_call_the_kernels():
    calls = _calls(_params(tiny.PLAIN, "int8"), tiny.PLAIN)
    function, args = calls["step"]
    module = function.lower(*args).as_text()
    targets = set(re.findall(r"custom_call @(\w+)", module))
    assert {"int8_dot", "int8_float_dot", "int8_attend", "int8_norm"} <= targets


def test_products_are_exact_on_accelerators():
    """Each float product of a step says that its factors must not be rounded."""
    calls = _calls(tiny.params(tiny.PLAIN), tiny.PLAIN)
    for name in ("step", "decode", "encode"):
        function, args = calls[name]
        module = _exported(function, args, "cuda")
        products = re.findall(r"stablehlo\.(?:dot_general|convolution).*", module)
        assert products
        assert all("HIGHEST" in product for product in products), name


def test_weights_of_bfloat16_stay_so_on_accelerators(monkeypatch):
    class Accelerator:
        platform = "cuda"

    monkeypatch.setattr(jax, "device_put", lambda tree, device: tree)
    tree = {"w": np.zeros((4, 4), bfloat16.BFLOAT16)}
    assert bfloat16.placed(tree, Accelerator())["w"].dtype == bfloat16.BFLOAT16
