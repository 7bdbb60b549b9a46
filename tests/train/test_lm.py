"""The language model's trainers on tiny data: they learn, and go on."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import flatten
from ptts_jax.model import head
from ptts_jax.model.config import FlowConfig
from ptts_jax.store import quantization
from ptts_jax.train.lm import distillation, folding, material, quantaware, rows, stage
from ptts_jax.train.lm.objectives import HEADS, OBJECTIVES
from ptts_jax.train.lm.recipe import Recipe
from ptts_jax.train.run import log, loop
from tests.support import training

RECIPE = Recipe(steps=40, batch=4, rate=5e-3, warmup=5, voices=(2, 4), copies=1, buckets=1)


@pytest.fixture(autouse=True, scope="module")
def quick():
    yield from training.quick_compilation()


@functools.cache
def batches():
    source = training.source()
    return material.batches(source, rows.buckets(source.utterances, 1), 4, RECIPE.voices, 0)


def trainer(recipe: Recipe = RECIPE, kind: str = "lsd") -> loop.Stage:
    c = training.shallow(kind)
    return stage.stage(c, recipe, lambda key: training.fresh(c), batches())


def test_it_learns_and_goes_on_as_if_it_had_never_stopped(tmp_path):
    made, options = trainer(), {"seed": 3, "quiet": True, "log_every": 1}
    whole = loop.run(made, out=tmp_path / "whole", steps=40, **options)

    def stopping(step: int) -> rows.Rows:
        if step == 3:
            raise InterruptedError
        return made.batch(step)

    cut = dataclasses.replace(made, batch=stopping)
    with pytest.raises(InterruptedError):
        loop.run(cut, out=tmp_path / "halves", steps=40, save_minutes=0, **options)
    halves = loop.run(made, out=tmp_path / "halves", steps=40, **options)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), jax.device_get(halves))
    seen = log.read(tmp_path / "whole")
    for name in ("loss", "regress", "guide", "eos", "velocity"):
        first, last = (np.mean([f[name] for f in part]) for part in (seen[:5], seen[-5:]))
        assert last < 0.9 * first, name
    before = training.fresh(training.shallow())["lm"]
    for name in ("mean", "std"):  # constants of the model
        np.testing.assert_array_equal(whole["ema"][name], before[name])
    old, new = (tree["head"]["times"]["time_0"]["freqs"] for tree in (before, whole["ema"]))
    np.testing.assert_array_equal(new, old)


def test_the_head_can_wait_and_the_guide_fades():
    c = training.shallow()
    recipe = dataclasses.replace(RECIPE, head_from=10, guide_steps=10)
    trained, batch, key = training.fresh(c), batches()(0), jax.random.key(1)

    @jax.jit
    def figures(step):
        return stage.loss(trained, c, recipe, batch, key, loop.Progress(step, 20))

    total, early = figures(9)
    assert early["velocity"] == early["jump"] == 0
    rest = 0.3 * early["eos"] + early["regress"]
    np.testing.assert_allclose(total, rest + 5 * early["guide"], rtol=1e-4)
    total, late = figures(15)
    np.testing.assert_allclose(early["guide"], late["guide"], rtol=1e-5)
    head = 0.75 * late["velocity"] + 0.25 * late["jump"]  # at a precision of 1
    assert head > 0.1
    np.testing.assert_allclose(total, rest + 0.5 * late["guide"] + head, rtol=1e-4)


def test_the_head_learns_alone(tmp_path):
    made = trainer(dataclasses.replace(RECIPE, head_only=True, muon=True))
    state = loop.run(made, out=tmp_path, steps=40, seed=3, quiet=True, log_every=1)
    seen = log.read(tmp_path)
    first, last = (np.mean([f["velocity"] for f in part]) for part in (seen[:5], seen[-5:]))
    assert last < 0.9 * first
    before, after = flatten(training.fresh(training.shallow())), flatten(state["trained"])
    moved = {name for name, leaf in before.items() if not np.array_equal(leaf, after[name])}
    assert moved and all(name.startswith(("lm/head/", "extra/precision")) for name in moved)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_has_a_head_to_train(objective):
    kind = HEADS.get(objective, objective)
    recipe = dataclasses.replace(RECIPE, objective=objective, copies=2, int8=False)
    made = trainer(recipe, kind)
    state = jax.eval_shape(made.init, jax.random.key(0))
    args = (state, batches()(0), jax.random.key(0), loop.Progress(np.int32(0), np.int32(40)))
    after, figures = jax.eval_shape(made.update, *args)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert {"loss", "eos", "regress", "guide"} < set(figures)


def test_int8_training_multiplies_as_the_int8_model_does():
    c, batch = training.shallow(), batches()(0)
    params = training.fresh(c)["lm"]
    small = quantization.quantize({"lm": params}, quantization.Int8())["lm"]

    @functools.partial(jax.jit, static_argnums=1)
    def forward(own, rounding):
        with quantaware.rounded() if rounding else contextlib.nullcontext():
            return rows.forward(own, c, batch, batch.latents)[0]

    made, plain, want = forward(params, True), forward(params, False), forward(small, False)
    valid = np.arange(made.shape[1]) <= batch.frame_count[:, None]
    assert np.abs(plain - want)[valid].max() > 1e-3
    assert np.abs(made - want)[valid].max() < 0.02 * np.abs(plain - want)[valid].max()


def test_straight_through_has_the_gradient_of_the_float_product():
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 3, 8), (4, 8)))
    g = rng.normal(size=(2, 3, 4)).astype(np.float32)
    _, pull = jax.vjp(quantaware.straight_through, x, w)
    dx, dw = pull(g)
    np.testing.assert_allclose(dx, np.einsum("bto,oi->bti", g, w), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dw, np.einsum("bto,bti->oi", g, x), rtol=1e-5, atol=1e-5)


def test_a_student_begins_with_the_lowest_and_the_topmost_layers():
    assert distillation.kept_layers(6, 4) == (0, 1, 4, 5)
    assert distillation.kept_layers(6, 3) == (0, 1, 5)
    assert distillation.kept_layers(6, 6) == tuple(range(6))
    with pytest.raises(ValueError, match="7 layers: the teacher has 6"):
        distillation.kept_layers(6, 7)


def test_guidance_goes_on_in_the_direction_of_the_text():
    c, batch = training.shallow(), batches()(0)
    params = training.fresh(c)["lm"]
    yes, no = jnp.ones(4, bool), jnp.zeros(4, bool)

    @jax.jit
    def both():
        with_text, _ = rows.forward(params, c, batch, batch.latents)
        without, _ = rows.forward(params, c, rows.drop(batch, yes, no), batch.latents)
        return with_text, without, distillation.guided(params, c, batch, batch.latents, 1.5)

    z, null, made = both()
    np.testing.assert_allclose(made, null + 1.5 * (z - null), rtol=1e-4, atol=1e-4)
    assert np.abs(z - null).max() > 0.1


@pytest.mark.parametrize("kind", distillation.KINDS)
def test_a_student_learns_from_its_teacher(kind):
    c = training.small().flow_lm
    taught = training.fresh(c)["lm"]
    if kind == "backbone":
        student, small = distillation.shallow(taught, c, 1)
    else:
        small = training.small("pointwise").flow_lm
        student = {**taught, "head": training.fresh(small, seed=1)["lm"]["head"]}
    recipe = dataclasses.replace(RECIPE, rate=1e-2, copies=2)
    made = distillation.stage(
        kind, (small, c), recipe, lambda key: (student, taught), batches(), 1.0
    )
    update, state, seen = jax.jit(made.update), made.init(jax.random.key(0)), []
    for step in range(30):
        progress = loop.Progress(np.int32(step), np.int32(40))
        state, figures = update(state, made.batch(step), jax.random.key(step), progress)
        seen.append(next(iter(jax.device_get(figures).values())))
    assert np.mean(seen[-5:]) < 0.7 * np.mean(seen[:5])
    jax.tree.map(np.testing.assert_array_equal, state["teacher"], taught)
    before, after = flatten(student), flatten(jax.device_get(state["trained"]))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    if kind == "pointwise":
        assert all(name.startswith("head/") for name in changed)
    else:
        assert not any(name.startswith(("head/", "eos/", "mean", "std")) for name in changed)
    assert changed


def test_a_pointwise_student_has_a_fresh_head():
    c, taught = training.shallow(), training.fresh(training.shallow())["lm"]
    student, small = distillation.pointwise(jax.random.key(0), taught, c)
    assert small == training.shallow("pointwise")
    want = jax.tree.map(jnp.shape, training.fresh(small)["lm"])
    assert jax.tree.map(jnp.shape, student) == want
    assert student["backbone"] is taught["backbone"]


@pytest.mark.parametrize("kind", ["lsd", "flow_matching", "drifting"])
def test_a_head_begins_with_what_the_regression_knows(kind):
    """At all times and noise; and all of it is trained from there."""
    rng, c = np.random.default_rng(0), FlowConfig(dim=24, depth=2, type=kind)
    w, z, x = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((8, 16), (5, 16), (5, 8)))
    times = [jnp.asarray(rng.uniform(size=(5, 1)), jnp.float32) for _ in range(c.num_times)]
    params = folding.beginning_with(head.init(jax.random.key(0), c, 16, 8), c, w)
    made = head.network(params, c, z, x, *times)
    np.testing.assert_allclose(made, z @ w.T, rtol=1e-5, atol=1e-5)

    def loss(params):
        return jnp.square(head.network(params, c, z, x, *times) - x).sum()

    once = jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.grad(loss)(params))
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(jax.grad(loss)(once)))
    assert loss(once) < loss(params)


def test_the_regression_folds_into_a_head():
    w, z = (
        jnp.asarray(np.random.default_rng(i).normal(size=s), jnp.float32)
        for i, s in enumerate(((8, 32), (5, 32)))
    )
    params, c = folding.regression(w)
    made = [
        head.sample(params, c, z, noise, head.schedule(params, c, 1))
        for noise in (jnp.zeros((5, 8)), jnp.ones((5, 8)))
    ]
    np.testing.assert_allclose(made[0], z @ w.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(*made)
    shapes = jax.eval_shape(lambda key: head.init(key, c, 32, 8), jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    np.testing.assert_array_equal(folding.regression_of(params, c), w)
    other = dataclasses.replace(c, depth=2)
    assert folding.regression_of(head.init(jax.random.key(0), other, 32, 8), other) is None
    assert folding.regression_of(head.init(jax.random.key(0), c, 32, 8), c) is None
