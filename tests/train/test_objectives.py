"""Every loss of the language model against numbers worked out in another way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptts_jax.model import head
from ptts_jax.model.config import FlowConfig
from ptts_jax.train.lm import folding, losses, objectives
from ptts_jax.train.lm.objectives import Frames, How
from tests.support import training

ROWS, TIME, WIDTH, Z = 2, 3, 4, 5
ALL = jnp.ones((ROWS, TIME), bool)


def numbers(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


DATA, COND = numbers(0, ROWS, TIME, WIDTH), numbers(1, ROWS, TIME, Z)
SOME = ALL.at[1, 2].set(False)


@pytest.fixture(autouse=True, scope="module")
def quick():
    yield from training.quick_compilation()


@pytest.fixture
def network(monkeypatch):
    """Put a formula in the place of the head's network."""

    def put(formula):
        def stand_in(params, c, z, x, *times):
            del c
            return formula(params, z, x, *times)

        monkeypatch.setattr(head, "network", stand_in)

    return put


def test_regression_is_squared_and_absolute_error_over_valid_frames():
    made = numbers(2, ROWS, TIME, WIDTH)
    error = np.asarray(made - DATA)
    kept = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    want = np.mean([np.mean(error[i] ** 2 + abs(error[i])) for i in kept])
    np.testing.assert_allclose(losses.regression(made, DATA, SOME), want, rtol=1e-5)


def test_dimensions_weigh_as_they_are_told():
    weight, made = jnp.array([2.0, 1.0, 0.5, 0.5]), numbers(2, ROWS, TIME, WIDTH)
    found = losses.regression(made, DATA, SOME, weight)
    for i in range(WIDTH):  # each alone, as often as it weighs
        alone = losses.regression(made[..., [i]], DATA[..., [i]], SOME)
        found -= weight[i] * alone / WIDTH
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_what_the_decoder_hears_is_important():
    noise = np.array([0.0, 0.1, 0.9, 1e6])
    weight = np.asarray(losses.importance(jnp.asarray(noise)))
    want = 1 / (noise + 0.1)
    np.testing.assert_allclose(weight, want / want.mean(), rtol=1e-6)


@pytest.mark.parametrize("silenced", range(4))
def test_lsd_leaves_out_what_weighs_nothing(network, silenced):
    """A velocity that is wrong in one dimension alone."""
    wrong = jnp.eye(WIDTH)[silenced]
    network(lambda params, z, x, s, t: (DATA - x) / (1 - s) + wrong * (1 - s))
    plain = lsd({})
    weighed = lsd({}, weight=1.0 - wrong)
    assert plain[1]["velocity"] > 0.1 / WIDTH
    np.testing.assert_allclose(weighed[1]["velocity"], 0, atol=1e-6)
    np.testing.assert_allclose(weighed[1]["jump"], 0, atol=1e-6)


def test_eos_is_true_from_a_few_frames_before_the_end():
    logits = np.asarray(numbers(3, 2, 6))
    counts = jnp.array([5, 3])  # the slot after the last frame is 5, and 3
    total, slots = 0.0, 0
    for row, count in enumerate((5, 3)):
        for slot in range(count + 1):
            p = 1 / (1 + np.exp(-logits[row, slot]))
            total -= np.log(p if slot >= count - 2 else 1 - p)
            slots += 1
    got = losses.eos(jnp.asarray(logits), counts, 2)
    np.testing.assert_allclose(got, total / slots, rtol=1e-5)


def lsd(params, seed=0, copies=4, valid=ALL, precision=(0.0, 0.0), weight=1.0):
    config = FlowConfig(dim=8, depth=1)
    how = How({"precision": jnp.array(precision)}, copies, weight=weight)
    rest = (config, Frames(COND, DATA, valid), how)
    return jax.jit(lambda p: objectives.lsd(jax.random.key(seed), p, *rest))(params)


@pytest.mark.parametrize("copies", [1, 2, 4, 8])
def test_lsd_is_zero_for_the_exact_jumps(network, copies):
    """For a single datum y the way from x_s is a straight line to it: u = (y - x) / (1 - s)."""
    network(lambda params, z, x, s, t: (DATA[: x.shape[1]] - x) / (1 - s))
    _, figures = lsd({}, copies=copies)
    assert figures["velocity"] < 1e-8
    assert figures["jump"] < 1e-8


def test_lsd_of_a_formula_with_a_known_slope(network):
    """u = a x t^2 + z_0 s, so du/dt = 2 a x t, with the draws taken apart by hand."""

    def u(params, z, x, s, t):
        return params["a"] * x * t**2 + z[..., :1] * s

    network(u)
    a, key = 0.7, jax.random.key(5)
    loss, figures = lsd({"a": a}, 5, 4, SOME, (0.3, -0.2))
    data, z, valid = np.asarray(DATA), np.asarray(COND), np.asarray(SOME)
    keys = jax.random.split(key, 4)
    noise = np.asarray(jax.random.normal(keys[0], (4, *data.shape)))
    t = 1 / (1 + np.exp(-0.4 - np.asarray(jax.random.normal(keys[1], (4, ROWS, TIME, 1)))))
    x = t * data + (1 - t) * noise
    off = a * x * t**2 + z[..., :1] * t - (data - noise)
    diagonal = (off**2).sum(-1)[:, valid].mean()

    pair = 1 / (1 + np.exp(-0.4 - np.asarray(jax.random.normal(keys[2], (2, 1, ROWS, TIME, 1)))))
    s, t = pair.min(0), pair.max(0)
    noise = np.asarray(jax.random.normal(keys[3], (1, *data.shape)))
    x = s * data + (1 - s) * noise
    jump = a * x * t**2 + z[..., :1] * s
    landed = x + (t - s) * jump
    wanted = a * landed * t**2 + z[..., :1] * t
    off = jump + (t - s) * 2 * a * x * t - wanted
    jumps = (off**2).sum(-1)[:, valid].mean()
    np.testing.assert_allclose(figures["velocity"], diagonal / WIDTH, rtol=1e-4)
    np.testing.assert_allclose(figures["jump"], jumps / WIDTH, rtol=1e-4)
    want = 0.75 * (diagonal * np.exp(0.3) / WIDTH - 0.3)
    want += 0.25 * (jumps * np.exp(-0.2) / WIDTH + 0.2)
    np.testing.assert_allclose(loss, want, rtol=1e-4)


def test_lsd_does_not_teach_the_teacher(network):
    """u = b (constant) has no slope: the jump's error is b - b = 0 for any b, and pulls nothing."""
    network(lambda params, z, x, s, t: params["b"] * jnp.where(s == t, 2.0, 1.0) + 0 * x)

    def jump(b):
        return lsd({"b": b})[1]["jump"]

    # (b - sg(2b))^2 has the gradient 2 (b - 2b) = -2b; 0.5 b^2 ... were the teacher to move: 2b.
    np.testing.assert_allclose(jax.grad(jump)(0.5), -1.0, rtol=1e-5)


def test_flow_matching_is_zero_for_the_exact_velocity(network):
    keep = 1 - objectives.SIGMA_MIN

    def exact(params, z, x, t):
        noise = (x - t * DATA) / (1 - keep * t)
        return DATA - keep * noise

    network(exact)
    config = FlowConfig(dim=8, depth=1, type="flow_matching")
    args = (jax.random.key(0), {}, config, Frames(COND, DATA, ALL), How({}, 3))
    assert jax.jit(lambda: objectives.flow_matching(*args))()[0] < 1e-4
    network(lambda params, z, x, t: exact(params, z, x, t) + 2.0)
    off = jax.jit(lambda: objectives.flow_matching(*args))()[0]
    np.testing.assert_allclose(off, 4.0, rtol=1e-2)


def test_pointwise_follows_the_teacher_from_the_same_noise(network):
    teacher = (3.0, FlowConfig(dim=8, depth=1))
    student = FlowConfig(dim=8, depth=1, type="pointwise")

    def formula(params, z, x, *times):
        if times:
            assert float(times[0].squeeze()) == 0
            assert float(times[1].squeeze()) == 1
        return params * x + z[..., :WIDTH]

    network(formula)
    key = jax.random.key(2)
    loss, _ = objectives.pointwise(key, 1.0, student, Frames(COND, DATA, ALL), teacher, 2)
    noise = np.asarray(jax.random.normal(key, (2, ROWS, TIME, WIDTH)))
    np.testing.assert_allclose(loss, np.mean((2 * noise) ** 2), rtol=1e-5)


def test_drift_field_by_loops():
    made, tau = np.asarray(numbers(4, 3, 2, WIDTH)), 0.5  # 3 outputs of 2 frames
    data = np.asarray(DATA)[0, :2]
    got = jax.jit(objectives.drift_field)(jnp.asarray(made), jnp.asarray(data), tau)
    for frame in range(2):
        y, x = data[frame], made[:, frame]
        points = [y, *x]
        d = np.array([[np.linalg.norm(x[i] - p) for p in points] for i in range(3)])
        itself = np.eye(3, 4, k=1)
        logits = -(d / d.mean() + 100 * itself) / tau
        e = np.exp(logits)
        both = (e / e.sum(1, keepdims=True)) * (e / e.sum(0, keepdims=True))
        a = np.sqrt(np.maximum(both, 1e-6))
        for i in range(3):
            plus = a[i, 0] * a[i, 1:].sum()
            minus = [a[i, 1 + j] * a[i, 0] for j in range(3)]
            want = plus * y - sum(m * x[j] for j, m in enumerate(minus))
            want = want - (plus - sum(minus)) * x[i]
            np.testing.assert_allclose(got[i, frame], want, rtol=1e-3, atol=1e-5)


TAU_OF_1 = np.log(10) / np.log(10 / 0.05) / 2  # the share of the run at which tau is 1


def test_drifting_moves_outputs_along_the_field(network):
    network(lambda params, z, x: params + 0.1 * x)
    config = FlowConfig(dim=8, depth=1, type="drifting")

    def loss(at):
        frames, how = Frames(COND, DATA * 0 + 2.0, ALL), How({}, 8, done=TAU_OF_1)
        return objectives.drifting(jax.random.key(0), at, config, frames, how)[0]

    slope = jax.jit(jax.grad(loss))
    assert slope(0.0) < -0.1  # the data are above
    assert slope(4.0) > 0.1


def test_drifting_tau_falls_from_far_to_near():
    taus = [float(objectives.drifting_tau(jnp.float32(x))) for x in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(taus, [10, np.sqrt(0.5), 0.05, 0.05], rtol=1e-4)


def circle(params, precision=(0.0,) * objectives.FEATURES, done=1.0, seed=0):
    config = FlowConfig(dim=8, depth=1, type="flow_matching")
    key = jax.random.key(seed)
    how = How({"consistency": jnp.array(precision)}, 4, done=done)
    rest = (config, Frames(COND, DATA, SOME), how)
    return jax.jit(lambda p: objectives.consistency(key, p, *rest))(params)


def test_consistency_is_zero_for_the_exact_field(network):
    """For a single datum y: F = (cos t x - y) / sin t, so that every point leads back to y."""
    network(lambda params, z, x, t: (jnp.cos(t) * x - DATA) / jnp.sin(t))
    loss, figures = circle({})
    assert loss < 1e-3  # what rounding leaves of a tangent divided by its own length
    assert figures["velocity"] < 1e-6


def test_consistency_of_a_formula_with_a_known_slope(network):
    """F = a x sin t: dF/dt = a v sin t + a x cos t along the path, v its velocity."""
    network(lambda params, z, x, t: params * x * jnp.sin(t))
    a, share, key = 0.8, 0.6, jax.random.key(4)
    precision = (0.1, 0.2, -0.3, 0.05, 0.4)
    loss, _ = circle(a, precision, share / 4, 4)
    keys, data, valid = jax.random.split(key), np.asarray(DATA), np.asarray(SOME)
    noise = np.asarray(jax.random.normal(keys[0], (4, *data.shape)))
    draw = np.asarray(jax.random.normal(keys[1], (4, ROWS, TIME, 1)))
    t = np.arctan(np.exp(1.4 * draw - 1.0))
    cos, sin = np.cos(t), np.sin(t)
    x, v = cos * data + sin * noise, cos * noise - sin * data
    slope = a * v * sin + a * x * cos
    g = -(cos**2) * (a * x * sin - v) - share * cos * sin * (x + slope)
    g = g / (np.linalg.norm(g, axis=-1, keepdims=True) + 0.1)
    features = np.stack([t**0, cos, sin, np.cos(2 * t), np.sin(2 * t)], -1)[..., 0, :]
    w = features @ np.asarray(precision)
    want = ((g**2).mean(-1) * np.exp(w) - w)[:, valid].mean()
    np.testing.assert_allclose(loss, want, rtol=1e-4)


def test_folded_consistency_head_makes_what_the_circle_ends_in():
    config = FlowConfig(dim=8, depth=2, type="flow_matching")
    without = dataclasses.replace(config, type="drifting")
    z, noise = COND[0], DATA[1]

    @jax.jit
    def both(key):
        params = head.init(key, config, Z, WIDTH)
        params = jax.tree.map(lambda p: p + 0.1, params)
        folded, kind = folding.consistency(params, config)
        assert kind == without
        want = -head.network(params, config, z, noise, jnp.full((1, 1), jnp.pi / 2))
        times = head.schedule(folded, without, 1)
        return folded, want, head.sample(folded, without, z, noise, times)

    folded, want, got = both(jax.random.key(0))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    fresh = jax.eval_shape(lambda key: head.init(key, without, Z, WIDTH), jax.random.key(0))
    assert jax.tree.structure(folded) == jax.tree.structure(fresh)


@pytest.mark.parametrize("kind", ["lsd", "flow_matching", "drifting", "consistency"])
def test_training_a_head_brings_its_samples_to_the_data(kind):
    """Frames are a function of the condition; a few hundred steps find it."""
    flow = FlowConfig(dim=16, depth=1, type="flow_matching" if kind == "consistency" else kind)
    params = {
        "head": head.init(jax.random.key(0), flow, Z, WIDTH),
        "extra": objectives.precisions(),
    }
    z = numbers(7, 4, 8, Z)
    data = jnp.tanh(z[..., :WIDTH]) + 1.0
    valid = jnp.ones(z.shape[:2], bool)

    # Drifting keeps a temperature of 0.2; consistency has all of its tangent from the start.
    done = {"drifting": np.log(50) / np.log(200) / 2, "consistency": 1.0}.get(kind, 0.0)
    copies = 8 if kind == "drifting" else 4

    def loss(p, key):
        how = How(p["extra"], copies, done)
        frames = Frames(z, data, valid)
        return objectives.OBJECTIVES[kind](key, p["head"], flow, frames, how)[0]

    def error(p):
        own, c = p["head"], flow
        if kind == "consistency":
            own, c = folding.consistency(own, c)
        times = head.schedule(own, c, 4 if kind == "flow_matching" else 1)
        flat = z.reshape(-1, Z)
        noise = 0.3 * jax.random.normal(jax.random.key(9), (flat.shape[0], WIDTH))
        made = head.sample(own, c, flat, noise, times)
        return jnp.mean(jnp.square(made - data.reshape(-1, WIDTH)))

    import optax

    tx = optax.adam(5e-3)

    @jax.jit
    def train(p):
        def one(carry, key):
            p, opt = carry
            updates, opt = tx.update(jax.grad(loss)(p, key), opt)
            return (optax.apply_updates(p, updates), opt), None

        keys = jax.random.split(jax.random.key(1), 300)
        return jax.lax.scan(one, (p, tx.init(p)), keys)[0][0]

    before, after = error(params), error(train(params))
    assert after < 0.3 * before
