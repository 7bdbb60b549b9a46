"""What quantised models compute: near to float, and the same in streams and batches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import flatten
from int8 import QTensor, dequantize
from ptts_jax import text
from ptts_jax.engine import loops
from ptts_jax.model import codec, generate, head, lm
from ptts_jax.model.conv import Conv, ConvSpec
from ptts_jax.store import quantization
from ptts_jax.store.quantization import Int8, apply, quantize
from ptts_jax.tts import TTS
from tests.model.test_streaming import SPECS
from tests.support import tiny, tiny_files, tokens
from tests.support.streaming import assert_backbone_streams, assert_streams

# Wide enough for every group size to divide something of every group; one layer of everything.
WIDE = dataclasses.replace(
    tiny.PLAIN,
    flow_lm=dataclasses.replace(
        tiny.PLAIN.flow_lm,
        flow=dataclasses.replace(tiny.PLAIN.flow_lm.flow, dim=128, depth=1),
        transformer=dataclasses.replace(
            tiny.PLAIN.flow_lm.transformer, d_model=128, num_layers=1, hidden_scale=1
        ),
        lookup_table=dataclasses.replace(tiny.PLAIN.flow_lm.lookup_table, dim=128),
    ),
    mimi=dataclasses.replace(
        tiny.PLAIN.mimi,
        seanet=dataclasses.replace(tiny.PLAIN.mimi.seanet, dimension=128, n_filters=8),
        transformer=dataclasses.replace(
            tiny.PLAIN.mimi.transformer,
            d_model=128,
            input_dimension=128,
            output_dimensions=(128,),
            num_layers=1,
            dim_feedforward=128,
        ),
        quantizer=dataclasses.replace(tiny.PLAIN.mimi.quantizer, output_dimension=128),
        outer_dim=128,
    ),
)


# What they compute.


@functools.cache
def _step():
    c = WIDE

    def outputs(params, noise):
        """A prefill, a frame and its decoding, as the drivers do them."""
        cache = lm.new_cache(c.flow_lm, 1, 256)
        ones = jnp.ones(1, jnp.int32)
        state = generate._begin(params, c, 1, cache, ones, ones, jnp.float32(0))
        tokens = jnp.arange(1, 17)[None]
        state = generate._prefill_text(params, c, state, tokens, jnp.array([16]))
        _, frame = generate._step(params, c, state, noise)
        return frame.latent, frame.eos_logit

    def decode(params, latents):
        return generate._decode(params, c, codec.decoder_state(c.mimi, 1), latents)[1]

    return jax.jit(outputs), jax.jit(decode)


def _error(got, want):
    return float(jnp.sqrt(jnp.mean(jnp.square(got - want)) / jnp.mean(jnp.square(want))))


@pytest.mark.parametrize("size", [None, 32, 64, 128])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group", [*quantization.GROUPS, "all"])
def test_every_combination_runs_close_to_float(group, bits, size):
    tree = tiny_files.params(WIDE)
    params, report = apply(tree, Int8((group,), bits, size))
    assert report.quantized
    outputs, decode = _step()
    noise, latents = np.ones((1, 8), np.float32), np.ones((1, 2, 8), np.float32)
    # Three times what was seen; an output that has nothing to do with the right one errs by 1.4.
    most = {8: 0.04, 4: 0.4}[bits]
    if group != "codec":
        assert 0 < _error(outputs(params, noise)[0], outputs(tree, noise)[0]) < most
    if group in ("codec", "all"):
        assert 0 < _error(decode(params, latents), decode(tree, latents)) < most


@pytest.mark.parametrize("name", [name for name in SPECS if name != "depthwise"])
def test_a_convolution_as_a_matmul_is_exact_where_integers_are(name):
    """Weights and inputs that are whole numbers with extremes of 127 quantise to themselves."""
    spec = SPECS[name]
    rng = np.random.default_rng(0)
    w = rng.integers(-126, 127, spec.weight_shape).astype(np.float32)
    w[0, 0] = 127
    x = rng.integers(-126, 127, (2, 20, spec.cin)).astype(np.float32)
    x[..., 0] = 127
    b = {"b": rng.standard_normal(spec.cout).astype(np.float32)} if spec.bias else {}
    matrix = {"c": {"w": w}}
    stored = quantization.quantize_tree(
        matrix, {"c": ("c/w",)}, ["c"], as_matrix=quantization.as_matrix
    )[0]["c"]["w"]
    taps = 2 if spec.transposed else spec.kernel
    assert stored.shape == (w.shape[2], taps * spec.cin)
    np.testing.assert_allclose(dequantize(stored).T.reshape(w.shape), w, rtol=1e-6)
    plain, _ = Conv(spec).apply({"params": {"w": w} | b}, x, spec.state(2))
    ours, _ = Conv(spec).apply({"params": {"w": stored} | b}, x, spec.state(2))
    np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in SPECS if name != "depthwise"])
def test_quantised_convolutions_stream(name):
    spec: ConvSpec = SPECS[name]
    x = jax.random.normal(jax.random.key(0), (3, 40, spec.cin))
    params = dict(Conv(spec).init(jax.random.key(1), x, spec.state(3))["params"])
    w = np.array(params["w"])
    tree, _ = quantization.quantize_tree(
        {"w": w}, {"c": ("w",)}, ["c"], as_matrix=quantization.as_matrix
    )
    down = 1 if spec.transposed else spec.stride
    # Each output's own inputs are rounded, wherever chunks begin: the same to the last bits.
    assert_streams(
        lambda x, s: Conv(spec).apply({"params": params | tree}, x, s),
        spec.state,
        x,
        rate=spec.stride if spec.transposed else 1 / down,
        multiple=down,
        tol=1e-6,
    )


# Between two ways to run, floats differ in their last bits before they are rounded to 8 bits. Where
# that tips a value over, it moves by a step: 1/127 of its row's largest. Few of them tip, and what
# a mistake in a state gives is wrong by as much as the signal: a fiftieth lies well between.
STEP = 0.02


@pytest.mark.parametrize(("base", "bits"), [(tiny.PLAIN, 8), (tiny.RICH, 4)], ids=["8", "4"])
def test_a_quantised_decoder_streams(base, bits):
    c, params = base.mimi, quantize(tiny_files.params(base), Int8(("codec",), bits))["codec"]
    assert_streams(
        lambda x, s: codec.decode(params, c, x, s),
        lambda batch: codec.decoder_state(c, batch),
        jax.random.normal(jax.random.key(0), (2, 12, c.latent_dim)),
        rate=c.frame_size,
        tol=STEP,
    )


def test_a_quantised_backbone_streams():
    c, params = tiny.RICH.flow_lm, quantize(tiny_files.params(tiny.RICH), Int8())["lm"]
    x = jax.random.normal(jax.random.key(0), (2, 40, c.transformer.d_model))
    assert_backbone_streams(params, c, x, tol=STEP)


@pytest.mark.parametrize("kind", ["lsd", "flow_matching", "drifting", "pointwise"])
def test_every_head_samples_with_quantised_products(kind):
    c = tiny.with_head(tiny.PLAIN, kind)
    tree = tiny_files.params(c)["lm"]["head"]
    params = quantize(tiny_files.params(c), Int8(("flow",)))["lm"]["head"]
    z, noise = np.full((2, 32), 0.5, np.float32), np.full((2, 8), -0.5, np.float32)
    flow = c.flow_lm.flow
    run = jax.jit(lambda p: head.sample(p, flow, z, noise, head.schedule(p, flow, 4)))
    assert 0 < _error(run(params), run(tree)) < 0.05


# Speech.


TEXTS = ["Hello there.", "One two three four five six seven.", "The quick brown fox jumps."]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The tiny model: float, with the default groups, and with all of them."""
    c = tiny_files.CONFIG
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    tokens.write_tokenizer_json(path, tiny_files.PIECES)
    tokenizer = text.load_tokenizer(path, "tokenizers", tiny_files.PIECES)
    tree = tiny_files.params(c)
    trees = {
        "float": tree,
        "default": quantize(tree, Int8()),
        "all": quantize(tree, Int8(("all",))),
    }
    return {name: TTS("tiny", c, jax.device_put(t), tokenizer, True) for name, t in trees.items()}


@pytest.fixture(scope="module")
def voice(models):
    return models["float"].voice(tiny_files.speech(1.0))


def frames(model, wave):
    count, left = divmod(wave.size, model.config.mimi.frame_size)
    assert left == 0
    return count


def test_quantised_speech_ends_where_float_speech_does(models, voice):
    for seed, line in enumerate(TEXTS):
        own = models["float"].generate(line, voice, seed=seed)
        ours = models["default"].generate(line, voice, seed=seed)
        assert np.isfinite(ours).all() and np.abs(ours).max() > 1e-3
        assert abs(frames(models["default"], ours) - frames(models["float"], own)) <= 2
        assert not np.array_equal(ours, own)


@pytest.mark.parametrize("which", ["default", "all"])
def test_streams_and_batches_give_the_same_quantised_speech(models, voice, which):
    model = models[which]
    seeds = range(len(TEXTS))
    one = [model.generate(line, voice, seed=s) for s, line in zip(seeds, TEXTS, strict=True)]
    again = model.generate(TEXTS[0], voice, seed=0)
    np.testing.assert_array_equal(again, one[0])
    many = model.generate_batch(TEXTS, voice, seed=list(seeds))
    for a, b in zip(one, many, strict=True):
        assert a.shape == b.shape
        # Frames are fed back, so a tipped value lives on: by the RMS of the whole.
        assert _error(b, a) < STEP


def test_a_quantised_model_clones(models):
    ours = models["all"].voice(tiny_files.speech(1.0))
    own = models["float"].voice(tiny_files.speech(1.0))
    assert ours.length == own.length
    assert 0 < _error(np.stack(ours.k), np.stack(own.k)) < 0.05  # the encoder is float


def test_caches_are_halved_where_what_fills_them_is_quantised(models):
    kinds = {
        name: lm.cache_shape(models[name].params["lm"], models[name].config.flow_lm, 1, 8).dtype
        for name in ("float", "all")
    }
    assert kinds == {"float": jnp.float32, "all": jnp.bfloat16}


def test_the_step_keeps_integers(models, voice):
    """No float copy of a quantised weight is made within the step, whichever the backend."""
    model = models["all"]
    job = loops.Job([1, 2, 3], 1, 10)
    cache = loops.opened(model.params, model.config, [voice], [job])
    state = loops.start(model.params, model.config, cache, [job])
    hlo = (
        generate.step.lower(model.params, model.config, state, np.zeros((1, 8), np.float32))
        .compile()
        .as_text()
    )
    shapes = {
        leaf.shape for leaf in flatten(model.params["lm"]).values() if isinstance(leaf, QTensor)
    }
    assert shapes
    for out, width in shapes:
        assert f"s8[{out},{width}]" in hlo and f"f32[{out},{width}]" not in hlo
