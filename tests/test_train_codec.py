"""The codec's training: the fast forward pass, every loss by hand, each kind of run on a hum."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import flatten
from ptts_jax import codec, config
from ptts_jax.train import codec as command
from ptts_jax.train import (
    codec_stage,
    corpus,
    crops,
    discriminator,
    forward,
    latents,
    log,
    loop,
    optim,
    spectra,
)
from ptts_jax.train.codec_stage import Recipe
from tests import tiny

# One layer of each kind; compiling is what these tests spend their time on.
C = dataclasses.replace(
    tiny.PLAIN.mimi,
    seanet=dataclasses.replace(tiny.PLAIN.mimi.seanet, ratios=(6,)),
    transformer=dataclasses.replace(tiny.PLAIN.mimi.transformer, num_layers=1),
)
# Everything that C has not: replicated padding, dilated residuals, projections, another decoder.
RICH = dataclasses.replace(
    tiny.RICH.mimi,
    seanet=dataclasses.replace(tiny.PLAIN.mimi.seanet, pad_mode="replicate"),
    transformer=dataclasses.replace(C.transformer, context=7),
)
QUICK = Recipe(steps=30, rate=1e-2, warmup=2, scales=(32,), windows=(32,), channels=2)


def waves(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 0.3


# Forward


def random_params(c):
    """Parameters in which nothing is zero, without compiling an initialiser."""
    shapes = jax.eval_shape(lambda key: codec_stage.init(key, c, QUICK), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) * 0.3, shapes)


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


def test_half_products():
    x, w, g = waves(0, 6, 7, 20), waves(1, 20, 9), waves(2, 6, 7, 9)
    y, back = jax.vjp(lambda x, w: forward.product(x, w, True), x, w)
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
    np.testing.assert_allclose(codec_stage.kl(mean, log_variance), total / 12, rtol=1e-4)


def test_sampling_has_the_posteriors_deviation():
    log_variance = np.log(np.array([0.04, 1.0, 9.0], np.float32))
    z = codec_stage.sampled(jnp.ones((200, 50, 3)), log_variance, jax.random.key(0))
    np.testing.assert_allclose(z.mean((0, 1)), 1, atol=0.1)
    np.testing.assert_allclose(z.std((0, 1)), [0.2, 1, 3], rtol=0.03)


def test_cosine_distance():
    z, p, f = waves(0, 2, 3, 4), waves(1, 4, 6), waves(2, 2, 3, 6)
    g = z @ p
    cosine = (g * f).sum(-1) / np.linalg.norm(g, axis=-1) / np.linalg.norm(f, axis=-1)
    np.testing.assert_allclose(codec_stage.cosine_distance(z, p, f), (1 - cosine).mean(), rtol=1e-4)


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
    update = jax.jit(lambda state: codec_stage.judge_update(tx, state, real, 0.1 * fake))
    for _ in range(40):
        state, loss = update(state)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


# Runs


def hum(directory, silent=False, rate=C.sample_rate):
    """A corpus of chords; a frame is 96 samples."""
    rng, clips = np.random.default_rng(0), []
    for i in range(16):
        time = np.arange(rng.integers(700, 1500)) / C.sample_rate
        notes = rng.uniform(50, 400, 3)[:, None]
        wave = 0.2 * np.sin(2 * np.pi * notes * time).sum(0) * (0 if silent else 1)
        split = "heldout" if i % 4 == 3 else "train"
        clips.append((f"Chord {i}.", "ab"[i % 2], split, corpus.to_pcm(wave)))
    return corpus.write_corpus(directory, clips, rate, {"seed": 0})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return hum(tmp_path_factory.mktemp("hum"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of both halves, and the latents that it gives."""
    out = tmp_path_factory.mktemp("codec")
    clips, crop = data.select(split="train"), crops.Crop(4, 5 * C.frame_size)
    batch = crops.batches(data, clips, crop, 0)
    held = crops.batches(data, data.select(split="heldout"), crop, 0)
    validate = command.validator(held, C, QUICK)
    stage = codec_stage.stage(C, QUICK, batch, validate=validate)
    loop.run(stage, out=out, steps=30, seed=0, quiet=True, log_every=5)
    params, c, _ = codec_stage.load(out)
    made = latents.encode(params, c, data, out / "latents", quiet=True)
    return out, params, made


def test_both_halves_learn(trained):
    out, params, _ = trained
    entries = log.read(out)
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.9 * losses[0]
    assert entries[-1]["heldout"] > 0 and {"kl", "log", "linear", "wave"} < entries[0].keys()
    assert codec_stage.load(out)[1:] == (C, 30)
    assert params.keys() == {"encoder", "decoder", "log_variance"}


def test_latents_are_the_encoders(trained, data):
    out, params, made = trained
    for clip in data.clips[-1:]:
        frames = -(-clip.length // C.frame_size)
        wave = crops.fitted(data.audio(clip), frames * C.frame_size)[None]
        encode = jax.jit(lambda p, w: codec.encode(p, C, w, codec.encoder_state(C, 1))[0])
        np.testing.assert_allclose(made.of(clip), encode(params, wave)[0], atol=1e-4)
    train = np.concatenate([made.of(clip) for clip in data.select(split="train")])
    np.testing.assert_allclose(made.mean, train.mean(0), atol=1e-5)
    np.testing.assert_allclose(made.std, train.std(0), rtol=1e-4)
    made.check_corpus(data)
    made.check_codec(params["encoder"], "it")


def test_the_decoder_learns_alone(trained, data, tmp_path):
    _, params, made = trained
    recipe = dataclasses.replace(QUICK, decoder_only=True, rate=3e-3)
    clips, crop = data.select(split="train"), crops.Crop(4, 5 * C.frame_size)
    batch = crops.frame_batches(data, clips, {"latents": made.of}, crop, C.frame_size, 0)
    stage = codec_stage.stage(C, recipe, batch, start=params)
    state = loop.run(stage, out=tmp_path, steps=30, seed=0, quiet=True, log_every=10)
    losses = [entry["loss"] for entry in log.read(tmp_path)]
    assert losses[-1] < losses[0]
    for name, kept in (("encoder", True), ("log_variance", True), ("decoder", False)):
        for kind in ("params", "ema"):
            pair = jax.tree.map(np.array_equal, state[kind][name], params[name])
            assert jax.tree.all(pair) == kept, (kind, name)


def test_the_posterior_learns_alone(trained, data, tmp_path):
    _, params, _ = trained
    recipe = dataclasses.replace(QUICK, posterior_only=True, rate=0.1, kl=0.1)
    batch = crops.batches(data, data.select(split="train"), crops.Crop(4, 5 * C.frame_size), 0)
    halves = {name: params[name] for name in ("encoder", "decoder")}  # as a model keeps them
    stage = codec_stage.stage(C, recipe, batch, start=halves)
    state = loop.run(stage, out=tmp_path, steps=30, seed=0, quiet=True, log_every=10)
    losses = [entry["loss"] for entry in log.read(tmp_path)]
    assert losses[-1] < losses[0]
    for name in halves:
        assert jax.tree.all(jax.tree.map(np.array_equal, state["ema"][name], params[name]))
    assert not np.array_equal(state["ema"]["log_variance"], params["log_variance"])


def test_a_run_starts_from_a_model_that_speaks():
    params, c = command.started("bundled")
    assert params.keys() == {"encoder", "decoder"} and c.sample_rate == 16000
    latents_ = jax.eval_shape(
        lambda p: forward.encode(p, c, np.zeros((1, c.frame_size), np.float32)), params["encoder"]
    )
    assert latents_.shape == (1, 1, c.latent_dim)


@pytest.mark.parametrize(
    ("recipe", "lower"),
    [
        # Together, since compiling each takes seconds.
        (
            dataclasses.replace(QUICK, energy=True, distill=5.0, teacher_width=8, half=True),
            ("loss", "distill", "log"),
        ),
        (dataclasses.replace(QUICK, adversarial=0.1), ("log",)),
    ],
    ids=["energy-distill-half", "adversarial"],
)
def test_other_objectives_learn(trained, data, tmp_path, recipe, lower):
    clips, crop = data.select(split="train"), crops.Crop(4, 5 * C.frame_size)
    beside = {"features": trained[2].of} if recipe.distill else {}
    batch = crops.frame_batches(data, clips, beside, crop, C.frame_size, 0)
    stage = codec_stage.stage(C, recipe, batch, start=random_params(C))  # quicker than fresh ones
    loop.run(stage, out=tmp_path, steps=30, seed=0, quiet=True, log_every=5)
    entries = log.read(tmp_path)
    for name in lower:
        assert entries[-1][name] < entries[0][name], name


def test_batches_are_of_their_step(data):
    crop = crops.Crop(3, 4 * C.frame_size)
    made = crops.batches(data, data.clips, crop, 5)
    first, again, next_ = made(0)["wave"], made(0)["wave"], made(1)["wave"]
    assert first.shape == (3, crop.samples) and np.array_equal(first, again)
    assert not np.array_equal(first, next_)


def test_frames_stand_beside_their_samples(data):
    """A frame's number, kept beside it, leads back to its samples."""
    owner = {clip.start: clip for clip in data.clips}

    def numbers(clip):
        frames = np.arange(-(-clip.length // 96))
        return np.stack([np.full(len(frames), clip.start), frames], axis=1)

    crop = crops.Crop(8, 9 * 96)
    found = crops.frame_batches(data, data.clips, {"numbers": numbers}, crop, 96, 0)(3)
    for wave, rows in zip(found["wave"], found["numbers"], strict=True):
        own = data.audio(owner[rows[0, 0]])
        expected = crops.fitted(own[rows[0, 1] * 96 :], crop.samples)
        assert np.array_equal(wave, expected)


# What cannot be used


def refused(capsys, *arguments):
    assert command.main(["codec", *map(str, arguments)]) == 1
    words = capsys.readouterr().err
    assert words.startswith("error: ") and words.count("\n") == 1
    return words


def test_refusals(data, trained, tmp_path, capsys):
    out, _, made = trained
    base = (f"--corpus={data.path}", f"--out={tmp_path / 'run'}")
    assert "1200 Hz, the codec 16000 Hz" in refused(capsys, *base)
    assert "holds no whole corpus" in refused(capsys, f"--corpus={tmp_path}", base[1])
    assert "--start" in refused(capsys, *base, "--decoder_only")
    assert "--teacher" in refused(capsys, *base, "--distill=25")
    assert "too short, take 11 or more" in refused(capsys, *base, f"--start={out}", "--frames=4")
    assert "no checkpoint there" in refused(capsys, *base, f"--start={tmp_path}")
    assert "nonsense" in refused(capsys, *base, "--config=nonsense")
    assert "is not a model" in refused(capsys, *base, "--start=./nonsense")
    assert "give --start" in refused(capsys, *base, "--posterior_only")


def test_silence_is_refused(tmp_path):
    silent = hum(tmp_path, silent=True)
    with pytest.raises(ValueError, match="the audio is silent"):
        crops.batches(silent, silent.clips, crops.Crop(2, 960), 0)
    with pytest.raises(ValueError, match="there are no clips"):
        crops.batches(silent, (), crops.Crop(2, 960), 0)


def test_latents_that_never_move_are_refused(data, trained, tmp_path):
    params = trained[1]
    dead = {**params, "encoder": jax.tree.map(np.zeros_like, params["encoder"])}
    with pytest.raises(ValueError, match="always the same"):
        latents.encode(dead, C, data, tmp_path, quiet=True)
    with pytest.raises(ValueError, match="holds no whole latents"):
        latents.open_latents(tmp_path)


def test_latents_of_something_else_are_refused(data, trained, tmp_path):
    _, params, made = trained
    with pytest.raises(ValueError, match="not made by the encoder"):
        made.check_codec(jax.tree.map(lambda x: x + 1, params["encoder"]), "it")
    with pytest.raises(ValueError, match="not the latents of"):
        made.check_corpus(dataclasses.replace(data, clips=data.clips[1:]))
    for name in ("latents.npy", "latents.json"):
        (tmp_path / name).write_bytes((made.path / name).read_bytes())
    about = json.loads((tmp_path / "latents.json").read_text())
    about["counts"][0] += 1
    (tmp_path / "latents.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="damaged"):
        latents.open_latents(tmp_path)


def test_the_small_codec_is_a_config():
    problems = [message for holds, message in command.SMALL.rules() if not holds]
    assert not problems and command.SMALL.frame_size == 1280
    assert command.SMALL.upsample_stride == 16
    assert isinstance(command.SMALL, config.MimiConfig)
