"""Which weights are quantised, and how a choice of them is read."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from convert import flatten
from int8 import QTensor
from ptts_jax.store import quantization
from ptts_jax.store.quantization import Int8, apply, parse, quantize
from tests.support import tiny, tiny_files


def quantised(tree, bits=(8, 4)):
    """The weights held in so many bits."""
    leaves = flatten(tree).items()
    return {path for path, leaf in leaves if isinstance(leaf, QTensor) and leaf.bits in bits}


# Which weights.


BLOCKS = {
    "attention": [
        f"lm/backbone/layers/layer_{i}/{n}/w" for i in (0, 1) for n in ("in_proj", "out_proj")
    ],
    "ffn": [f"lm/backbone/layers/layer_{i}/{n}/w" for i in (0, 1) for n in ("up", "down")],
}

CODEC_BLOCK = ("in_proj", "out_proj", "up", "down")

EXPECTED = {
    "plain": BLOCKS
    | {
        "flow": [f"lm/head/{n}/w" for n in ("modulation/cond", "modulation/all")]
        + [f"lm/head/net/{n}_{i}/w" for i in (0, 1) for n in ("in", "out")],
        "codec": [
            f"codec/decoder/transformer/layers/layer_{i}/{n}/w" for i in (0, 1) for n in CODEC_BLOCK
        ]
        + [f"codec/decoder/seanet/{n}/w" for n in ("first", "up_0")]
        + [f"codec/decoder/seanet/res_0_0_{n}/w" for n in ("in", "out")],
    },
    "rich": BLOCKS
    | {
        "flow": [f"lm/head/{n}/w" for n in ("modulation/cond", "modulation/all")]
        + [f"lm/head/net/{n}_{i}/w" for i in (0, 1, 2) for n in ("in", "out")],
        "codec": [f"codec/decoder/transformer/layers/layer_0/{n}/w" for n in CODEC_BLOCK]
        + [f"codec/decoder/transformer/{n}/w" for n in ("input", "output")]
        + [f"codec/decoder/seanet/{n}/w" for n in ("first", "up_0")]
        + [f"codec/decoder/seanet/res_0_{j}_{n}/w" for j in (0, 1) for n in ("in", "out")],
    },
}


@pytest.mark.parametrize("base", ["plain", "rich"])
@pytest.mark.parametrize(
    "groups", [*[(name,) for name in quantization.GROUPS], ("attention", "ffn"), ("all",)]
)
def test_exactly_the_named_weights(base, groups):
    tree = tiny_files.params({"plain": tiny.PLAIN, "rich": tiny.RICH}[base])
    names = quantization.GROUPS if groups == ("all",) else groups
    expected = {path for name in names for path in EXPECTED[base][name]}
    after, report = apply(tree, Int8(groups))
    assert quantised(after) == expected == set(report.quantized) and report.left == ()
    before, flow = flatten(tree), {*EXPECTED[base]["flow"]}
    codec = {path for path in EXPECTED[base]["codec"] if "/transformer/" in path}
    assert quantised(after, bits=(16,)) == codec - expected
    for path, leaf in flatten(after).items():
        if path in flow - expected:
            assert leaf.dtype == jnp.bfloat16
            np.testing.assert_array_equal(leaf, before[path].astype(jnp.bfloat16))
        else:
            assert path in expected | codec or leaf is before[path]
    assert quantised(quantize(tree, Int8(groups))) == expected


def test_the_default_is_attention_and_ffn():
    assert Int8() == Int8(("attention", "ffn"), 8, None) == parse(True)


def test_twice_is_as_once():
    once = quantize(tiny_files.params(tiny.PLAIN), Int8(("all",)))
    twice, report = apply(once, Int8(("all",)))
    assert all(a is b for a, b in zip(flatten(once).values(), flatten(twice).values(), strict=True))
    assert len(report.quantized) == len(quantised(once))
    with pytest.raises(ValueError, match="quantised already, to 8 bits"):
        quantize(once, Int8(("flow",), 4))


def test_whatever_never_may_be_quantised_is_not_even_when_named(monkeypatch):
    monkeypatch.setitem(quantization.GROUPS, "flow", (r"lm/.*/w|lm/.*",))
    names = quantised(quantize(tiny_files.params(tiny.RICH), Int8(("flow",))))
    for kept in ("eos", "z_proj", "text", "speaker", "input", "norm", "final", "times", "mean"):
        assert not any(re.search(rf"/{kept}\w*/", f"{name}/") for name in names), kept


# The choice.


@pytest.mark.parametrize(
    ("choice", "groups"),
    [
        (True, ("attention", "ffn")),
        ("attention,ffn", ("attention", "ffn")),
        ("ffn, attention ,ffn", ("attention", "ffn")),
        (["codec", "flow"], ("flow", "codec")),
        ("all", ("attention", "ffn", "flow", "codec")),
        ("flow,all", ("attention", "ffn", "flow", "codec")),
        (Int8(("flow",), 4, 32), ("flow",)),
    ],
)
def test_choices_are_read(choice, groups):
    spec = parse(choice)
    assert spec.groups == groups
    assert spec == parse(",".join(groups), spec.bits, spec.group_size)
    assert len({spec, parse(list(groups), spec.bits, spec.group_size)}) == 1


@pytest.mark.parametrize("choice", [None, False])
def test_no_choice(choice):
    assert parse(choice) is None


def test_labels_tell_every_choice_apart():
    sizes, groups = (None, 32, 64, 128), [(name,) for name in quantization.GROUPS]
    specs = [
        Int8(g, b, s)
        for g in [*groups, ("all",), ("attention", "ffn")]
        for b in (8, 4)
        for s in sizes
    ]
    assert len({spec.label for spec in specs}) == len(specs)
    assert all(re.fullmatch(r"[\w-]+", spec.label) for spec in specs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("atention",), "unknown int8 group 'atention'; did you mean attention?"),
        (("attention,codek",), "did you mean codec?"),
        (("",), "no int8 group is named"),
        (([],), "no int8 group is named"),
        ((True, 5), "bits 5: give 8 or 4"),
        ((True, 8, 33), "group_size 33: give one of 32, 64, 128"),
        ((True, 8, 0), "group_size 0: give one of"),
        ((None, 4), "bits and group_size: only of use with int8"),
        ((False, 8, 32), "bits and group_size: only of use with int8"),
    ],
)
def test_impossible_choices_are_refused(arguments, words):
    with pytest.raises(ValueError) as caught:
        parse(*arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)
