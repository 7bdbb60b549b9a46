"""The policy on trees of any kind: what it touches, leaves and refuses; and storing QTensors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from int8 import QTensor, dequantize, quantize
from int8.policy import Report, quantize_tree
from int8.store import pack, unpack

FORMATS = [(bits, group) for bits in (8, 4) for group in (None, 32, 64, 128)]
GROUPS = {"big": (r"body/.*/w",), "head": (r"head/w", r"head/side/w"), "none": (r"absent/.*",)}


def matrix(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tree():
    return {
        "body": {
            "one": {"w": matrix(6, 128), "b": matrix(6)},
            "two": {"w": matrix(5, 256, seed=1), "eos": {"w": matrix(1, 128)}},
            "odd": {"w": matrix(4, 48)},
        },
        "head": {"w": matrix(3, 128), "side": {"w": matrix(7, 128)}, "ww": matrix(9, 128)},
    }


def leaves(node, path=""):
    if isinstance(node, dict):
        return {
            k: v for name, item in node.items() for k, v in leaves(item, f"{path}/{name}").items()
        }
    return {path[1:]: node}


def assert_same(a: QTensor, b: QTensor):
    assert (a.bits, a.group_size) == (b.bits, b.group_size)
    assert a.qvalue.dtype == b.qvalue.dtype and a.scale.dtype == b.scale.dtype
    np.testing.assert_array_equal(a.qvalue, b.qvalue)
    np.testing.assert_array_equal(a.scale, b.scale)


@pytest.mark.parametrize(
    ("chosen", "never", "expected"),
    [
        (["big"], [], {"body/one/w", "body/two/w", "body/odd/w", "body/two/eos/w"}),
        (["big"], [r".*/eos/w"], {"body/one/w", "body/two/w", "body/odd/w"}),
        (["big"], [r"eos/w"], {"body/one/w", "body/two/w", "body/odd/w", "body/two/eos/w"}),
        (["head"], [r"body/.*"], {"head/w", "head/side/w"}),
        (["head"], [r"head/side/.*", r"head/ww"], {"head/w"}),
        (["head", "big"], [r".*/(eos|side|one)/w"], {"head/w", "body/two/w", "body/odd/w"}),
        ([], [], set()),
    ],
)
def test_touches_exactly_the_named_leaves(chosen, never, expected):
    before = tree()
    after, report = quantize_tree(before, GROUPS, chosen, never)
    old, new = leaves(before), leaves(after)
    assert list(old) == list(new)
    for name, leaf in new.items():
        if name in expected:
            assert_same(leaf, quantize(old[name]))
        else:
            assert leaf is old[name]
    assert set(report.quantized) == expected and report.left == ()
    assert not any(isinstance(leaf, QTensor) for leaf in leaves(before).values())


@pytest.mark.parametrize(("bits", "group"), FORMATS)
def test_awkward_leaves_stay_float_and_are_reported(bits, group):
    before = tree()
    after, report = quantize_tree(before, GROUPS, ["big"], (), bits, group)
    old, new = leaves(before), leaves(after)
    awkward = {"body/odd/w"} if group else set()
    assert {name for name, _ in report.left} == awkward
    assert (
        set(report.quantized)
        == {"body/one/w", "body/two/w", "body/two/eos/w", "body/odd/w"} - awkward
    )
    for name in report.quantized:
        assert_same(new[name], quantize(old[name], bits, group))
    for name, reason in report.left:
        assert new[name] is old[name]
        assert reason == f"input size 48 is not a multiple of the group size {group}"


def test_a_vector_among_the_chosen_is_left():
    _, report = quantize_tree({"a": {"b": matrix(8)}}, {"x": ("a/b",)}, ["x"])
    assert report.quantized == () and report.left[0][0] == "a/b"
    assert "not a matrix" in report.left[0][1]


def test_reports_read_well():
    assert str(Report(("a", "b"), ())) == "2 weights are quantised"
    assert str(Report(("a",), (("b", "odd"),))) == "1 of 2 weights stay float (b: odd)"
    report = Report((), (("b", "odd"), ("c", "odd"), ("d", "odd")))
    assert str(report) == "3 of 3 weights stay float (b: odd; and 2 more)"


def test_twice_is_as_once():
    once, first = quantize_tree(tree(), GROUPS, ["big"], (), 4, 32)
    twice, second = quantize_tree(once, GROUPS, ["big"], (), 4, 32)
    assert first == second
    for name, leaf in leaves(twice).items():
        assert leaf is leaves(once)[name]
    more, report = quantize_tree(once, GROUPS, ["head"], (), 8)  # other leaves, another format
    assert report.quantized == ("head/w", "head/side/w")
    assert more["body"]["one"]["w"] is once["body"]["one"]["w"]


@pytest.mark.parametrize(("bits", "group"), [(4, None), (8, 32)])
def test_another_format_of_the_same_leaf_is_refused(bits, group):
    once, _ = quantize_tree(tree(), GROUPS, ["big"])
    with pytest.raises(ValueError, match=r"body/one/w is quantised already, to 8 bits") as caught:
        quantize_tree(once, GROUPS, ["big"], (), bits, group)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [("bigg", "did you mean big?"), ("HEAD", "mean head?"), ("q", "there are big")],
)
def test_unknown_groups_are_refused_with_near_ones(name, words):
    with pytest.raises(ValueError, match=f"unknown int8 group {name!r}") as caught:
        quantize_tree(tree(), GROUPS, ["big", name])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert ("did you mean" in str(caught.value)) == (name != "q")


def test_a_group_without_leaves_is_refused():
    with pytest.raises(ValueError, match="'none' names no weight"):
        quantize_tree(tree(), GROUPS, ["big", "none"])
    with pytest.raises(ValueError, match="'big' names no weight"):  # all of it is forbidden
        quantize_tree(tree(), GROUPS, ["big"], [r"body/.*"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(bad):
    broken = tree()
    broken["body"]["two"]["w"][2, 3] = bad
    with pytest.raises(ValueError, match="body/two/w: cannot quantise: .*NaN or infinity"):
        quantize_tree(broken, GROUPS, ["big"])


def test_leaves_of_another_layout_become_matrices():
    kernel = matrix(3, 16, 5)  # [taps, in, out]
    after, _ = quantize_tree(
        {"c": {"w": kernel}}, {"x": ("c/w",)}, ["x"], as_matrix=lambda w: w.reshape(48, 5).T
    )
    assert after["c"]["w"].shape == (5, 48)
    assert_same(after["c"]["w"], quantize(np.ascontiguousarray(kernel.reshape(48, 5).T)))


def test_the_same_inside_a_jitted_function():
    numbers = jax.tree.map(jnp.asarray, tree())
    inside = jax.jit(lambda t: quantize_tree(t, GROUPS, ["big", "head"], (), 4)[0])(numbers)
    outside, _ = quantize_tree(tree(), GROUPS, ["big", "head"], (), 4)
    assert jax.tree.structure(inside) == jax.tree.structure(outside)
    for name, leaf in leaves(outside).items():
        if isinstance(leaf, QTensor):  # a last bit of a scale may round otherwise
            np.testing.assert_allclose(leaves(inside)[name].scale, leaf.scale, rtol=1e-6)
            near = dequantize(leaves(inside)[name]) - dequantize(leaf)
            assert (np.abs(near) <= leaf.scale[:, None] * 1.01).all()


# Storing.


@pytest.mark.parametrize(("bits", "group"), FORMATS)
def test_stored_and_back_is_exact_and_copies_nothing(bits, group):
    flat = {"a/w": quantize(matrix(6, 128), bits, group), "a/b": matrix(6), "c": np.arange(3)}
    tensors, note = pack(flat)
    assert set(tensors) == {"a/w/qvalue", "a/w/scale", "a/b", "c"}
    back = unpack(tensors, note)
    assert set(back) == set(flat)
    assert_same(back["a/w"], flat["a/w"])
    assert np.shares_memory(back["a/w"].qvalue, flat["a/w"].qvalue)
    assert back["a/b"] is tensors["a/b"] and back["c"] is tensors["c"]


def test_device_arrays_are_stored_alike():
    w = quantize(matrix(6, 128))
    tensors, note = pack({"w": jax.device_put(w)})
    assert all(isinstance(x, np.ndarray) for x in tensors.values())
    assert_same(unpack(tensors, note)["w"], w)


def test_without_quantised_weights_nothing_is_noted():
    assert pack({"a": matrix(2, 2)})[1] == "{}"
    assert list(unpack({"a": np.zeros(2)}, "{}")) == ["a"]


def _changed(part, change=None):
    """Another value of a stored tensor; without a change, none at all."""

    def spoil(tensors, formats):
        old = tensors.pop(part)
        if change is not None:
            tensors[part] = change(old)

    return spoil


def _of_16_bits(change):
    def spoil(tensors, formats):
        formats["w"] = [16, None]
        tensors["w/scale"] = tensors["w/scale"][:, 0]
        tensors["w/qvalue"] = change(tensors["w/qvalue"].astype("i2"))

    return spoil


def _noted(**note):
    return lambda tensors, formats: formats.update(note)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_changed("w/scale"), "w: its scales are missing"),
        (_changed("w/qvalue"), "w: its integers are missing"),
        (_noted(w=[4, 32]), "w: holds int8 numbers; those of 4 bits are uint8"),
        (_noted(w=[3, 32]), "w: 3 bits are unknown"),
        (_noted(w=[True, 32]), "w: True bits are unknown"),
        (_noted(w=[8, 64]), r"w: its scales are float32 \[6, 4\], should be .*2\]"),
        (_noted(w=[8, None]), r"should be float32 \[6\]"),
        (_noted(w=[8, 48]), "w: group_size must be"),
        (_noted(w=[8, "32"]), "w: group size '32' is not a number"),
        (_noted(v=[8, None]), "v: its .* are missing"),
        (_noted(w=8), "note on quantised weights is damaged"),
        (_changed("w/scale", lambda x: x[:, :1]), r"w: its scales are float32 \[6, 1\]"),
        (_changed("w/scale", lambda x: x.astype("f8")), "w: its scales are float64"),
        (_changed("w/scale", lambda x: x * np.float32("nan")), "w: its scales hold NaN"),
        (_changed("w/qvalue", lambda x: x.astype("i2")), "w: holds int16 numbers"),
        (_changed("w/qvalue", lambda x: x[:, :40]), "40 is not a multiple of the group size"),
        (_changed("w/qvalue", lambda x: x[0, 0]), "not a matrix"),
        (_of_16_bits(lambda q: q * 100), "w: its integers go beyond 2047"),
        (_of_16_bits(lambda q: q[:, :0]), "w: .*not a matrix"),
    ],
)
def test_what_does_not_fit_together_is_refused(spoil, words):
    tensors, note = pack({"w": quantize(matrix(6, 128), 8, 32)})
    formats = json.loads(note)
    spoil(tensors, formats)
    with pytest.raises(ValueError, match=words) as caught:
        unpack(tensors, json.dumps(formats))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("note", ["", "[]", "{", '{"w": null}', '"w"', '{"w": [8, null, 1]}'])
def test_a_damaged_note_is_refused(note):
    tensors, _ = pack({"w": quantize(matrix(6, 128))})
    with pytest.raises(ValueError, match="note on quantised weights is damaged"):
        unpack(tensors, note)
