"""The codec's training: its forward pass is the model's, its losses are what they say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from convert import flatten
from ptts_jax.model import codec
from ptts_jax.train.codec import (
    discriminator,
    forward,
    spectra,
    stage,
)
from ptts_jax.train.run import optim
from tests.support import tiny
from tests.support.codec_runs import C, random_params

# Everything that C has not: replicated padding, dilated residuals, projections, another decoder.
RICH = dataclasses.replace(
    tiny.RICH.mimi,
    seanet=dataclasses.replace(tiny.PLAIN.mimi.seanet, pad_mode="replicate"),
    transformer=dataclasses.replace(C.transformer, context=7),
)


def waves(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 0.3


def model(params, c, wave):
    z, _ = codec.encode(params, c, wave, codec.encoder_state(c, wave.shape[0]))
    return z, codec.decode(params, c, z, codec.decoder_state(c, wave.shape[0]))[0]


def fast(params, c, wave):
    z = forward.encode(params["encoder"], c, wave)
    return z, forward.decode(params["decoder"], c, z)


def test_forward_is_the_model():
    both = jax.jit(lambda p, w: (model(p, RICH, w), fast(p, RICH, w)))
    expected, found = both(random_params(RICH), waves(0, 2, 5 * RICH.frame_size))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_gradients_are_the_models():
    params, wave = random_params(C), waves(0, 1, 3 * C.frame_size)

    def gradients(forward):
        return jax.grad(lambda p: jnp.sum(jnp.sin(forward(p, C, wave)[1])))

    expected, found = jax.jit(lambda p: (gradients(model)(p), gradients(fast)(p)))(params)
    found = flatten(found)
    for name, leaf in flatten(expected).items():
        scale = np.abs(leaf).max()
        np.testing.assert_allclose(found[name], leaf, atol=1e-3 * scale, err_msg=name)


def test_products_of_bfloat16_inputs():
    x, w, g = waves(0, 6, 7, 20), waves(1, 20, 9), waves(2, 6, 7, 9)
    y, back = jax.vjp(lambda x, w: forward.product(True, x, w), x, w)
    np.testing.assert_allclose(y, x @ w, atol=0.02)
    np.testing.assert_allclose(back(g)[0], g @ w.T, atol=0.02)
    expected = x.reshape(-1, 20).T @ g.reshape(-1, 9)
    np.testing.assert_allclose(back(g)[1], expected, atol=0.05)
    assert y.dtype == back(g)[0].dtype == jnp.float32


# Losses


def numpy_magnitudes(wave, size):
    hop, window = size // 4, np.hanning(size + 1)[:-1]
    wave = np.pad(wave, (0, -len(wave) % hop))
    frames = [wave[i : i + size] * window for i in range(0, len(wave) - size + 1, hop)]
    power = np.abs(np.fft.rfft(frames)) ** 2 / np.sum(window**2)
    return np.sqrt(power + spectra.FLOOR)


def test_spectral_distances():
    a, b = waves(0, 2, 2000), waves(1, 2, 2000) * 0.1
    found = spectra.distances(a, b, 16_000, (64, 512))
    log_, linear, mel = [], [], None
    for size in (64, 512):
        x, y = (np.stack([numpy_magnitudes(w, size) for w in two]) for two in (a, b))
        log_.append(np.abs(np.log(x) - np.log(y)).mean())
        linear.append(np.abs(x - y).sum() / y.sum())
    bands = spectra.mel_bands(512, 40, 16_000)
    mel = np.abs(np.log(x @ bands) - np.log(y @ bands)).mean()
    np.testing.assert_allclose(found["log"], np.mean(log_), rtol=1e-4)
    np.testing.assert_allclose(found["linear"], np.mean(linear), rtol=1e-4)
    np.testing.assert_allclose(found["mel"], mel, rtol=1e-4)
    assert all(float(value) == 0 for value in spectra.distances(a, a, 16_000, (64,)).values())


def test_mel_bands():
    bands = spectra.mel_bands(512, 40, 16_000)
    np.testing.assert_allclose(bands.sum(0), 1, rtol=1e-5)
    peaks = bands.argmax(0) * 16_000 / 512
    assert (np.diff(peaks) >= 0).all()
    mel = 2595 * np.log10(1 + peaks / 700)
    wanted = np.arange(1, 41) * 2595 * np.log10(1 + 8000 / 700) / 41
    assert np.abs(mel - wanted).max() < 2595 * np.log10(1 + 31.25 / 700)  # within a bin


def test_noise_has_its_deviation_as_magnitude():
    found = spectra.magnitudes(waves(0, 1, 20_000), 256)
    np.testing.assert_allclose(np.sqrt(np.mean(found[..., 1:-1] ** 2)), 0.3, rtol=0.05)


def test_energy_distance():
    a, b, x = waves(0, 2, 400), waves(1, 2, 400) * 0.5, waves(2, 2, 400) * 0.2
    found = spectra.energy(a, b, x, 16_000, (64,))
    m = {
        n: np.stack([numpy_magnitudes(w, 64) for w in v])
        for n, v in zip("abx", (a, b, x), strict=True)
    }

    def log_(p, q):
        return np.abs(np.log(m[p]) - np.log(m[q])).mean()

    def linear(p, q):
        return np.abs(m[p] - m[q]).sum() / m["x"].sum()

    for name, d in (("log", log_), ("linear", linear)):
        np.testing.assert_allclose(found[name], d("a", "x") + d("b", "x") - d("a", "b"), rtol=1e-3)
    # Two decodes that are alike gain nothing over one that is always the same.
    same, one = spectra.energy(a, a, x, 16_000, (64,)), spectra.distances(a, x, 16_000, (64,))
    np.testing.assert_allclose(same["log"], 2 * one["log"], rtol=1e-5)


def test_kl():
    mean, log_variance = waves(0, 3, 4, 5), waves(1, 5)
    points = np.linspace(-12, 12, 20_001)

    def density(x, m, v):
        return np.exp(-0.5 * (x - m) ** 2 / v) / np.sqrt(2 * np.pi * v)

    total = 0.0
    for row in mean.reshape(-1, 5):
        for m, v in zip(row, np.exp(log_variance), strict=True):
            q = density(points, m, v)
            ratio = np.log(q + 1e-300) - np.log(density(points, 0, 1))
            total += np.trapezoid(q * ratio, points)
    np.testing.assert_allclose(stage.kl(mean, log_variance), total / 12, rtol=1e-4)


def test_sampling_has_the_posteriors_deviation():
    log_variance = np.log(np.array([0.04, 1.0, 9.0], np.float32))
    z = stage.sampled(jnp.ones((200, 50, 3)), log_variance, jax.random.key(0))
    np.testing.assert_allclose(z.mean((0, 1)), 1, atol=0.1)
    np.testing.assert_allclose(z.std((0, 1)), [0.2, 1, 3], rtol=0.03)


def test_cosine_distance():
    z, p, f = waves(0, 2, 3, 4), waves(1, 4, 6), waves(2, 2, 3, 6)
    g = z @ p
    cosine = (g * f).sum(-1) / np.linalg.norm(g, axis=-1) / np.linalg.norm(f, axis=-1)
    np.testing.assert_allclose(stage.cosine_distance(z, p, f), (1 - cosine).mean(), rtol=1e-4)


def test_hinge_and_features():
    real, fake = [[waves(0, 2, 3), waves(1, 2, 4)]], [[waves(2, 2, 3), waves(3, 2, 4)]]
    r, f = real[0][1], fake[0][1]
    hinge = np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean()
    np.testing.assert_allclose(discriminator.discriminator_loss(real, fake), hinge, rtol=1e-5)
    np.testing.assert_allclose(discriminator.generator_loss(fake), -f.mean(), rtol=1e-5)
    x, y = real[0][0], fake[0][0]
    expected = np.abs(x - y).mean() / np.abs(x).mean()
    np.testing.assert_allclose(discriminator.feature_loss(real, fake), expected, rtol=1e-5)


def test_discriminator_has_weight_norm():
    params = discriminator.init(jax.random.key(0), (32,), 4)
    wave = waves(0, 1, 300)
    doubled = jax.tree.map(lambda x: x, params)
    for layer in doubled["window_32"].values():
        layer["v"] = 2 * layer["v"]
    a, b = (jax.jit(discriminator.judge)(p, wave)[0] for p in (params, doubled))
    assert len(a) == len(discriminator.LAYERS) and a[-1].shape[-1] == 1
    np.testing.assert_allclose(a[-1], b[-1], atol=1e-5)


def test_the_discriminator_learns_to_tell():
    judge, (real, fake) = discriminator.init(jax.random.key(0), (32,), 2), waves(0, 2, 4, 500)
    tx = optim.adamw(3e-3)
    state, losses = {"judge": judge, "judge_opt": tx.init(judge)}, []
    update = jax.jit(lambda state: stage.judge_update(tx, state, real, 0.1 * fake))
    for _ in range(40):
        state, loss = update(state)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
