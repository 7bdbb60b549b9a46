"""The language model's trainers on tiny data: they learn, they go on, their commands work."""

import contextlib
import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from convert import flatten
from ptts_jax import head, quantization, schema, tts, weights
from ptts_jax.train import (
    checkpoint,
    codec,
    distill,
    distill_stage,
    export,
    finetune,
    latents,
    lm,
    lm_stage,
    log,
    loop,
    material,
    predicted,
    quantaware,
    regression,
    rows,
)
from ptts_jax.train.corpus import write_corpus
from ptts_jax.train.lm_stage import Recipe
from tests import tiny, training

RECIPE = Recipe(steps=40, batch=4, rate=5e-3, warmup=5, voices=(2, 4), copies=1, buckets=1)


@pytest.fixture(autouse=True, scope="module")
def quick():
    yield from training.quick_compilation()


@functools.cache
def batches():
    source = training.source()
    return material.batches(source, rows.buckets(source.utterances, 1), 4, RECIPE.voices, 0)


def stage(recipe: Recipe = RECIPE, kind: str = "lsd") -> loop.Stage:
    c = training.shallow(kind)
    return lm_stage.stage(c, recipe, lambda key: training.fresh(c), batches())


def test_it_learns_and_goes_on_as_if_it_had_never_stopped(tmp_path):
    made, options = stage(), {"seed": 3, "quiet": True, "log_every": 1}
    whole = loop.run(made, out=tmp_path / "whole", steps=40, **options)
    loop.run(made, out=tmp_path / "halves", steps=3, **options)
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
    recipe = dataclasses.replace(RECIPE, head_from=10, guide_steps=10, steps=20)
    trained, batch, key = training.fresh(c), batches()(0), jax.random.key(1)

    @jax.jit
    def figures(step):
        return lm_stage.loss(trained, c, recipe, batch, key, step)

    total, early = figures(9)
    assert early["velocity"] == early["jump"] == 0
    rest = 0.3 * early["eos"] + early["regress"]
    np.testing.assert_allclose(total, rest + 5 * early["guide"], rtol=1e-4)
    total, late = figures(15)
    np.testing.assert_allclose(early["guide"], late["guide"], rtol=1e-5)
    head = 0.75 * late["velocity"] + 0.25 * late["jump"]  # at a precision of 1
    assert head > 0.1
    np.testing.assert_allclose(total, rest + 0.5 * late["guide"] + head, rtol=1e-4)


@pytest.mark.parametrize("objective", lm_stage.OBJECTIVES)
def test_every_objective_has_a_head_to_train(objective):
    kind = lm_stage.HEADS.get(objective, objective)
    recipe = dataclasses.replace(RECIPE, objective=objective, copies=2, int8=False)
    made = stage(recipe, kind)
    state = jax.eval_shape(made.init, jax.random.key(0))
    args = (state, batches()(0), jax.random.key(0), np.int32(0))
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
    assert distill_stage.kept_layers(6, 4) == (0, 1, 4, 5)
    assert distill_stage.kept_layers(6, 3) == (0, 1, 5)
    assert distill_stage.kept_layers(6, 6) == tuple(range(6))
    with pytest.raises(ValueError, match="7 layers: the teacher has 6"):
        distill_stage.kept_layers(6, 7)


def test_guidance_goes_on_in_the_direction_of_the_text():
    c, batch = training.shallow(), batches()(0)
    params = training.fresh(c)["lm"]
    yes, no = jnp.ones(4, bool), jnp.zeros(4, bool)

    @jax.jit
    def both():
        with_text, _ = rows.forward(params, c, batch, batch.latents)
        without, _ = rows.forward(params, c, rows.drop(batch, yes, no), batch.latents)
        return with_text, without, distill_stage.guided(params, c, batch, batch.latents, 1.5)

    z, null, made = both()
    np.testing.assert_allclose(made, null + 1.5 * (z - null), rtol=1e-4, atol=1e-4)
    assert np.abs(z - null).max() > 0.1


@pytest.mark.parametrize("kind", distill_stage.KINDS)
def test_a_student_learns_from_its_teacher(kind):
    c = training.small().flow_lm
    taught = training.fresh(c)["lm"]
    if kind == "backbone":
        student, small = distill_stage.shallow(taught, c, 1)
    else:
        small = training.small("pointwise").flow_lm
        student = {**taught, "head": training.fresh(small, seed=1)["lm"]["head"]}
    recipe = dataclasses.replace(RECIPE, rate=1e-2, copies=2)
    made = distill_stage.stage(
        kind, (small, c), recipe, lambda key: (student, taught), batches(), 1.0
    )
    update, state, seen = jax.jit(made.update), made.init(jax.random.key(0)), []
    for step in range(30):
        state, figures = update(state, made.batch(step), jax.random.key(step), np.int32(step))
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
    student, small = distill_stage.pointwise(jax.random.key(0), taught, c)
    assert small == training.shallow("pointwise")
    want = jax.tree.map(jnp.shape, training.fresh(small)["lm"])
    assert jax.tree.map(jnp.shape, student) == want
    assert student["backbone"] is taught["backbone"]


def test_the_regression_folds_into_a_head():
    w, z = (
        jnp.asarray(np.random.default_rng(i).normal(size=s), jnp.float32)
        for i, s in enumerate(((8, 32), (5, 32)))
    )
    params, c = regression.fold(w)
    made = [
        head.sample(params, c, z, noise, head.schedule(params, c, 1))
        for noise in (jnp.zeros((5, 8)), jnp.ones((5, 8)))
    ]
    np.testing.assert_allclose(made[0], z @ w.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(*made)
    shapes = jax.eval_shape(lambda key: head.init(key, c, 32, 8), jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    np.testing.assert_array_equal(regression.unfold(params, c), w)
    other = dataclasses.replace(c, depth=2)
    assert regression.unfold(head.init(jax.random.key(0), other, 32, 8), other) is None
    assert regression.unfold(head.init(jax.random.key(0), c, 32, 8), c) is None


# The commands.


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A corpus of hums, a codec's run and the latents it gives."""
    folder, c, rng = tmp_path_factory.mktemp("runs"), tiny.PLAIN.mimi, np.random.default_rng(0)
    hums = [(rng.normal(size=x.length) * 3000).astype(np.int16) for x in training.clips()]
    spoken = [
        (x.text, x.speaker, x.split, hum) for x, hum in zip(training.clips(), hums, strict=True)
    ]
    corpus = write_corpus(folder / "corpus", spoken, c.sample_rate, {"engine": "hum"})
    own = jax.device_get(tiny.params(tiny.PLAIN)["codec"])
    own |= {"log_variance": np.zeros(c.latent_dim, np.float32)}
    meta = {"stage": "codec", "seed": 0, "mimi": schema.write(c)}
    checkpoint.save(folder / "codec", {"ema": own}, 1, meta)
    latents.encode(own, c, corpus, folder / "latents", quiet=True)
    return folder


SMALL = ("--width=16", "--layers=1", "--heads=2", "--head_width=8", "--head_depth=1")
FEW = ("--batch=4", "--buckets=1", "--voices=2,4", "--copies=1", "--quiet")


def command(main, folder, out, *more):
    data = (f"--corpus={folder}/corpus", f"--latents={folder}/latents", f"--out={out}")
    return main(["train", *data, *FEW, *more])


def test_commands_train_go_on_and_distil(folders, tmp_path, capsys):
    run = tmp_path / "lm"
    own = (f"--codec={folders}/codec", *SMALL, "--drop_text=0.2")
    assert command(lm.main, folders, run, *own, "--steps=1") == 0
    assert command(lm.main, folders, run, *own, "--steps=2") == 0
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries if "no_eos" in e] == [1, 2]
    params, c, tokenizer, meta = lm.load(run)
    trained, mimi, _ = codec.load(folders / "codec")
    assert (c.mimi, c.model_recommended_frames_after_eos) == (mimi, 2)
    assert meta["encoder"] == latents.encoder_key(trained["encoder"])
    jax.tree.map(
        lambda leaf, shape: np.testing.assert_array_equal(leaf.shape, shape),
        params,
        weights.template(c)["lm"],
    )
    plain, c_plain, _, _ = lm.load(run, plain=True)
    assert c_plain.flow_lm.flow.type == "drifting"
    assert plain["head"]["modulation"]["cond"]["w"].shape == (16, 16)
    student = tmp_path / "student"
    taught = (f"--teacher={run}", "--steps=1")
    assert command(distill.main, folders, student, *taught, "--guidance=1.5") == 0
    shallow, small, same, _ = lm.load(student)
    assert small.flow_lm.transformer.num_layers == 1
    assert list(shallow["backbone"]["layers"]) == ["layer_0"]
    assert same.encode("the cat") == tokenizer.encode("the cat")
    np.testing.assert_array_equal(shallow["eos"]["w"], params["eos"]["w"])

    bad = (f"--teacher={run}", "--kind=pointwise", "--layers=1")
    assert command(distill.main, folders, student, *bad) == 1
    assert "leave --layers and --guidance" in capsys.readouterr().err
    assert command(lm.main, folders, tmp_path / "new", *own, "--voices=4,2") == 1
    assert "voices 4,2: give the least first" in capsys.readouterr().err
    other = (f"--start={run}", *own[:1], "--width=32", "--steps=1")
    assert command(lm.main, folders, tmp_path / "new", *other) == 1
    assert "of another shape" in capsys.readouterr().err
    assert not (tmp_path / "new").exists() or not (tmp_path / "new" / "checkpoint.json").exists()


@pytest.mark.parametrize("plain", [False, True])
def test_a_run_starts_where_a_run_or_its_model_is(folders, tmp_path, plain):
    """Its averaged weights and its tokenizer; of one that speaks plainly, its regression."""
    own = (f"--codec={folders}/codec", *SMALL)
    run, model = tmp_path / "lm", tmp_path / "model"
    assert command(lm.main, folders, run, *own, "--steps=2") == 0
    given = (f"--lm={run}", f"--codec={folders}/codec", f"--corpus={folders}/corpus")
    plainly = ["--plain"] if plain else []
    assert export.main(["export", *given, f"--out={model}", *plainly]) == 0
    file = str(model / "model.safetensors")
    from_run, from_model = lm.started(str(run)), lm.started(file)
    assert from_run.tokenizer.serialized == from_model.tokenizer.serialized
    alike = {"atol": 2e-3, "rtol": 1e-2}  # the file holds fewer bits
    for name in ("text", "backbone", "eos"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, **alike),
            from_run.params["lm"][name],
            from_model.params["lm"][name],
        )
    assert ("head" in from_model.params["lm"]) is not plain
    if plain:
        np.testing.assert_allclose(
            from_model.params["extra"]["regress"], from_run.params["extra"]["regress"], **alike
        )
    assert command(lm.main, folders, tmp_path / "new", *own, f"--start={file}", "--steps=1") == 0
    assert lm.load(tmp_path / "new")[2].serialized == from_run.tokenizer.serialized


def test_latents_as_the_model_gives_them(folders, tmp_path, capsys):
    """In the places of the true ones, from the frames before, and a decoder goes on from them."""
    run, made = tmp_path / "lm", tmp_path / "predicted"
    codec_run = f"--codec={folders}/codec"
    assert command(lm.main, folders, run, codec_run, *SMALL, "--muon", "--steps=2") == 0
    own = [f"--{name}={folders}/{name}" for name in ("corpus", "latents")]
    assert predicted.main(["p", f"--lm={run}", *own, f"--out={made}", "--plain"]) == 0
    told = re.search(r"(\d+) frames, (\S+) of the variance off", capsys.readouterr().out)
    true, found = (latents.open_latents(path) for path in (folders / "latents", made))
    assert found.where == true.where and found.predicted and not true.predicted
    off = np.mean(np.square((found.frames - true.frames) / true.std))
    assert int(told[1]) == len(true.frames) and float(told[2]) == pytest.approx(off, abs=1e-3)

    params, c, _, _ = lm.load(run, plain=True)
    source = training.source()
    part = rows.buckets(source.utterances, 1)[0]
    batch = rows.make(source, part, [3, 4], (3, 3), np.random.default_rng(0))
    noise = np.zeros_like(batch.latents)
    w = params["head"]["modulation"]["cond"]["w"][: c.mimi.latent_dim]  # z -> latents
    history = batch.latents
    for _ in range(predicted.PASSES):
        history = rows.forward(params, c.flow_lm, batch, history)[0][:, :-1] @ w.T
    got = predicted.predict(params, c.flow_lm, batch, noise)
    np.testing.assert_allclose(got, history, atol=2e-5)

    own = [*own[:1], f"--latents={made}", f"--start={folders}/codec", "--decoder_only"]
    short = ["--steps=2", "--batch=2", "--frames=11", "--quiet"]  # the first one warms up
    assert codec.main(["c", *own, *short, f"--out={tmp_path}/decoder"]) == 0
    kept, _, _ = codec.load(tmp_path / "decoder")
    before, _, _ = codec.load(folders / "codec")
    jax.tree.map(np.testing.assert_array_equal, kept["encoder"], before["encoder"])
    assert not jax.tree.all(jax.tree.map(np.array_equal, kept["decoder"], before["decoder"]))
    assert codec.main(["c", *own, *short, "--energy", f"--out={tmp_path}/energy"]) == 1
    assert "--energy: compares two decodes" in capsys.readouterr().err


def test_another_corpus_is_refused(folders, tmp_path, capsys):
    c = tiny.PLAIN.mimi
    spoken = [("Other words.", "a", "train", np.zeros(960, np.int16))]
    write_corpus(tmp_path / "corpus", spoken, c.sample_rate, {"engine": "another"})
    flags = (f"--corpus={tmp_path}/corpus", f"--latents={folders}/latents", f"--out={tmp_path}/x")
    assert lm.main(["train", *flags, f"--codec={folders}/codec"]) == 1
    assert "not the latents of" in capsys.readouterr().err


def test_finetuning_moves_what_is_not_frozen_and_writes_a_model(folders, tmp_path, capsys):
    c = dataclasses.replace(training.small(), flow_lm=training.shallow())
    own_lm = jax.device_get(training.fresh(c.flow_lm)["lm"])
    params = {"lm": own_lm, "codec": jax.device_get(tiny.params(tiny.PLAIN)["codec"])}
    about = {"tokenizer": training.tokenizer().serialized, "voice_cloning": True}
    model = tmp_path / "model.safetensors"
    weights.save_converted(model, params, c, name="small", **about)
    flags = (f"--corpus={folders}/corpus", f"--latents={tmp_path}/latents", *FEW, "--steps=2")
    out = tmp_path / "tuned"
    own = (f"--model={model}", f"--out={out}", "--rate=0.01", "--warmup=0")
    assert finetune.main(["t", *flags, *own, "--frozen=lm/backbone,lm/text"]) == 0
    tuned = tts.load(out / finetune.FILE)
    before, after = flatten(params), flatten(jax.device_get(tuned.params))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert any(name.startswith("lm/head/") for name in changed)
    assert not any(
        name.startswith(("lm/backbone", "lm/text", "lm/mean", "codec")) for name in changed
    )
    assert tuned.config == c

    assert finetune.main(["t", *flags, *own, "--frozen=lm/nothing"]) == 1
    assert "no parameter matches 'lm/nothing'" in capsys.readouterr().err
    weights.save_converted(model, params, tiny.with_head(c, "pointwise"), name="p", **about)
    assert finetune.main(["t", *flags, *own]) == 1
    assert "which only distillation can train" in capsys.readouterr().err
