"""Conversion without the reference: layouts by definition, names, raw files, totality."""

import ml_dtypes
import numpy as np
import pytest

from convert import ConvertError, flatten, from_reference, raw, to_reference, unflatten
from convert.names import rules
from ptts_jax.model.conv import Conv, ConvSpec
from ptts_jax.store import weights
from tests.support import tiny

CONFIGS = {
    "plain": tiny.PLAIN,
    "rich": tiny.RICH,
    "no times": tiny.with_head(tiny.PLAIN, "drifting"),
}


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


def random_params(config, seed: int = 0) -> dict:
    dice = np.random.default_rng(seed)
    shapes = flatten(weights.template(config))
    return unflatten({path: dice.standard_normal(s, np.float32) for path, s in shapes.items()})


def source(config) -> dict[str, np.ndarray]:
    """Random tensors under the reference's names."""
    return to_reference(random_params(config))


def assert_same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for name in a:
        x, y = np.asarray(a[name]), np.asarray(b[name])
        assert x.dtype == y.dtype == np.float32, name
        assert x.shape == y.shape and x.tobytes() == y.tobytes(), name


def test_round_trips_are_exact(config):
    params, tensors, template = random_params(config), source(config), weights.template(config)
    assert_same(from_reference(tensors, template), params)
    assert_same(to_reference(from_reference(tensors, template)), tensors)


def test_every_tensor_has_its_own_source(config):
    sources = [
        name for rule in rules(flatten(weights.template(config))).values() for name in rule.sources
    ]
    assert len(set(sources)) == len(sources) > 100


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_float_types_become_float32(dtype):
    tensors = {name: x.astype(dtype) for name, x in source(tiny.PLAIN).items()}
    converted = from_reference(tensors, weights.template(tiny.PLAIN))
    assert_same(to_reference(converted), {k: x.astype(np.float32) for k, x in tensors.items()})


# What the layouts mean, by the definitions of the operations.


def _converted(tree: dict, tensors: dict) -> dict:
    shapes = {path: np.shape(x) for path, x in tree.items()}
    return flatten(from_reference(tensors, unflatten(shapes)))


def _run(spec: ConvSpec, params: dict, x: np.ndarray) -> np.ndarray:
    y, _ = Conv(spec).apply({"params": params}, x[None], spec.state(1))
    return np.asarray(y)[0]


def test_convolution_layout():
    dice = np.random.default_rng(0)
    spec = ConvSpec("first", 3, 4, kernel=5)
    w, b, x = (dice.standard_normal(s).astype("f4") for s in [(4, 3, 5), (4,), (9, 3)])
    path = "codec/decoder/seanet/first"
    ours = _converted(
        {f"{path}/w": np.zeros(spec.weight_shape), f"{path}/b": b},
        {"mimi.decoder.model.0.conv.weight": w, "mimi.decoder.model.0.conv.bias": b},
    )
    padded = np.concatenate([np.zeros((4, 3), np.float32), x])
    want = [np.einsum("oik,ki->o", w, padded[t : t + 5]) + b for t in range(9)]
    got = _run(spec, {"w": ours[f"{path}/w"], "b": ours[f"{path}/b"]}, x)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_transposed_convolution_layout():
    dice = np.random.default_rng(1)
    stride, cin, cout = 3, 4, 2
    spec = ConvSpec("up_0", cin, cout, 2 * stride, stride=stride, transposed=True)
    shapes = [(cin, cout, 2 * stride), (cout,), (5, cin)]
    w, b, x = (dice.standard_normal(s).astype("f4") for s in shapes)
    path = "codec/decoder/seanet/up_0"
    ours = _converted(
        {f"{path}/w": np.zeros(spec.weight_shape), f"{path}/b": b},
        {"mimi.decoder.model.2.convtr.weight": w, "mimi.decoder.model.2.convtr.bias": b},
    )
    want = np.zeros((5 * stride + stride, cout)) + b
    for t in range(5):
        want[t * stride : (t + 2) * stride] += np.einsum("iok,i->ko", w, x[t])
    got = _run(spec, {"w": ours[f"{path}/w"], "b": ours[f"{path}/b"]}, x)
    np.testing.assert_allclose(got, want[: 5 * stride], atol=1e-5)


def test_depthwise_layout():
    dice = np.random.default_rng(2)
    stride, channels = 4, 3
    options = {"bias": False, "transposed": True, "depthwise": True}
    spec = ConvSpec("upsample", channels, channels, 2 * stride, stride=stride, **options)
    w, x = (
        dice.standard_normal(s).astype("f4") for s in [(channels, 1, 2 * stride), (5, channels)]
    )
    path = "codec/decoder/upsample/w"
    name = "mimi.upsample.convtr.convtr.weight"
    ours = _converted({path: np.zeros(spec.weight_shape)}, {name: w})
    want = np.zeros((6 * stride, channels))
    for t in range(5):
        want[t * stride : (t + 2) * stride] += w[:, 0].T * x[t]
    np.testing.assert_allclose(_run(spec, {"w": ours[path]}, x), want[: 5 * stride], atol=1e-5)


def test_modulation_is_the_blocks_in_order_and_the_final_layer_last():
    tensors = source(tiny.PLAIN)
    tree = from_reference(tensors, weights.template(tiny.PLAIN))
    stacked, width = tree["lm"]["head"]["modulation"]["all"]["w"], tiny.PLAIN.flow_lm.flow.dim
    name = "flow_lm.flow_net.{}.adaLN_modulation.1.weight"
    for i in range(2):
        want = tensors[name.format(f"res_blocks.{i}")]
        assert np.array_equal(stacked[3 * i * width : 3 * (i + 1) * width], want)
    assert np.array_equal(stacked[-2 * width :], tensors[name.format("final_layer")])


def test_seanet_layers_are_numbered_with_their_activations():
    flat = {}
    for side, resampler in (("encoder", "down"), ("decoder", "up")):
        names = ["first", "last", *(f"{resampler}_{i}" for i in range(2))]
        names += [f"res_{i}_{j}_{k}" for i in range(2) for j in range(2) for k in ("in", "out")]
        flat |= {f"codec/{side}/seanet/{name}/{kind}": (4,) for name in names for kind in "wb"}
    found = {path: rule.sources[0] for path, rule in rules(flat).items()}
    expected = {
        "encoder": "0 first, 1.1 res_0_0_in, 1.3 res_0_0_out, 2.1 res_0_1_in, 2.3 res_0_1_out, "
        "4 down_0, 5.1 res_1_0_in, 5.3 res_1_0_out, 6.1 res_1_1_in, 6.3 res_1_1_out, 8 down_1, "
        "10 last",
        "decoder": "0 first, 2 up_0, 3.1 res_0_0_in, 3.3 res_0_0_out, 4.1 res_0_1_in, "
        "4.3 res_0_1_out, 6 up_1, 7.1 res_1_0_in, 7.3 res_1_0_out, 8.1 res_1_1_in, "
        "8.3 res_1_1_out, 10 last",
    }
    for side, rows in expected.items():
        for row in rows.split(", "):
            number, name = row.split()
            middle = number.replace(".", ".block.")
            kind = "convtr" if name.startswith("up_") else "conv"
            want = f"mimi.{side}.model.{middle}.{kind}"
            assert found[f"codec/{side}/seanet/{name}/w"] == f"{want}.weight"
            assert found[f"codec/{side}/seanet/{name}/b"] == f"{want}.bias"


# Misfits.


def test_all_misfits_are_reported_together():
    tensors = source(tiny.PLAIN)
    del tensors["flow_lm.bos_emb"]
    tensors["flow_lm.emb_std"] = np.ones(3, np.float32)
    tensors["flow_lm.surprise"] = np.ones(3, np.float32)
    name = "mimi.upsample.convtr.convtr.weight"
    tensors[name] = tensors[name].astype(np.int8)
    with pytest.raises(ConvertError) as caught:
        from_reference(tensors, weights.template(tiny.PLAIN))
    assert sorted(caught.value.problems) == [
        "flow_lm.bos_emb [8] is missing",
        "flow_lm.emb_std is [3], should be [8]",
        "flow_lm.surprise has no place in the model",
        f"{name} holds int8, should be floating point",
    ]
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    assert "\n" not in str(caught.value)


def test_many_misfits_make_a_short_message():
    with pytest.raises(ConvertError) as caught:
        from_reference({}, weights.template(tiny.PLAIN))
    assert len(caught.value.problems) == len(source(tiny.PLAIN))
    assert len(str(caught.value)) < 1000 and " more" in str(caught.value)


@pytest.mark.parametrize("name", ["first", "up_0", "down_0"])
def test_a_transposed_kernel_of_another_length_is_a_misfit(name):
    """The kernel's length and the stride are one fact to us."""
    tensors = source(tiny.PLAIN)
    layer = {"first": "decoder.model.0.conv", "up_0": "decoder.model.2.convtr"}.get(
        name, "encoder.model.3.conv"
    )
    tensors[f"mimi.{layer}.weight"] = tensors[f"mimi.{layer}.weight"][:, :, :-1]
    with pytest.raises(ConvertError, match=rf"mimi\.{layer}\.weight is \["):
        from_reference(tensors, weights.template(tiny.PLAIN))


@pytest.mark.parametrize(
    "path", ["lm/nonsense", "codec/decoder/seanet/nonsense/w", "lm/bos_1", "lm/text_3/table"]
)
def test_a_tensor_of_ours_without_a_rule_is_an_error(path):
    with pytest.raises(ConvertError, match=path):
        to_reference(unflatten({path: np.zeros(3)}))


def test_flatten_and_unflatten():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert flatten(tree) == {"a/b": 1, "a/c/d": 2, "e": 3}
    assert unflatten(flatten(tree)) == tree
    for flat in ({"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}):
        with pytest.raises(ValueError, match="tree: 'a"):
            unflatten(flat)
    with pytest.raises(ValueError, match="usable"):
        flatten({"a/b": 1})


# Raw layouts.


def test_fold_is_the_weight_norm_of_the_first_axis():
    dice = np.random.default_rng(0)
    v, g = dice.standard_normal((4, 3, 5), np.float32), dice.standard_normal((4, 1, 1), np.float32)
    w = raw.fold(g, v)
    for i in range(4):
        np.testing.assert_allclose(np.linalg.norm(w[i]), abs(g[i, 0, 0]), rtol=1e-6)
        np.testing.assert_allclose(w[i], g[i] * v[i] / np.linalg.norm(v[i]), rtol=1e-5)
    assert not raw.fold(np.zeros((2, 1, 1)), np.zeros((2, 3, 5))).any()


def test_raw_names():
    one = np.ones((2, 1, 1), np.float32)
    found, ignored = raw.language_model(
        {
            "transformer.layers.0.self_attn.in_proj_weight": one,
            "condition_provider.conditioners.speaker_wavs.output_proj.weight": one,
            "fuser.padding_value": one,
            "flow.w_s_t.weight": one,
            "num_ema_updates": one,
        }
    )
    assert set(found) == {
        "flow_lm.transformer.layers.0.self_attn.in_proj.weight",
        "flow_lm.speaker_proj_weight",
        "flow_lm.bos_before_voice",
    }
    assert set(ignored) == {"flow.w_s_t.weight", "num_ema_updates"} and all(ignored.values())
    found, ignored = raw.codec(
        {
            "encoder.model.0.conv.conv.weight_g": one,
            "encoder.model.0.conv.conv.weight_v": one,
            "decoder.model.2.convtr.convtr.bias": one,
            "downsample.conv.conv.conv.weight": one,
            "model.upsample.convtr.convtr.convtr.weight": one,
            "model.quantizer.vq.layers.0.weight": one,
            "x._codebook.y": one,
        }
    )
    assert set(found) == {
        "mimi.encoder.model.0.conv.weight",
        "mimi.decoder.model.2.convtr.bias",
        "mimi.downsample.conv.conv.weight",
        "mimi.upsample.convtr.convtr.weight",
    }
    assert set(ignored) == {"model.quantizer.vq.layers.0.weight", "x._codebook.y"}


def test_half_a_weight_norm_pair_is_an_error():
    for kind, other in (("g", "v"), ("v", "g")):
        name = f"encoder.model.0.conv.conv.weight_{kind}"
        with pytest.raises(ConvertError, match=f"{name} stands without its .*_{other}"):
            raw.codec({name: np.ones((2, 1, 1))})


def test_combination_of_files():
    one, two = np.ones(1), np.full(1, 2)
    bundle = {"flow_lm.a": one, "mimi.b": one, "mimi.c": one}
    assert raw.combine(bundle, None, None) == (bundle, {})
    found, ignored = raw.combine(bundle, None, {"b": two})
    assert found == {"flow_lm.a": one, "mimi.b": two}
    assert set(ignored) == {"mimi.b", "mimi.c"}
    found, ignored = raw.combine(None, {"a": one}, {"mimi.b": two, "flow_lm.a": two})
    assert found == {"flow_lm.a": one, "mimi.b": two}
    assert ignored == {"flow_lm.a": "not of the codec"}
