"""The commands that train, distil and fine-tune a language model."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from convert import flatten
from ptts_jax import tts
from ptts_jax.model import schema
from ptts_jax.store import converted, weights
from ptts_jax.store.converted import Converted
from ptts_jax.train import distill, export, finetune, predicted
from ptts_jax.train.codec import command as codec
from ptts_jax.train.codec import latents
from ptts_jax.train.codec import runs as codecs
from ptts_jax.train.data.corpus import write_corpus
from ptts_jax.train.lm import command as lm
from ptts_jax.train.lm import rows, runs
from ptts_jax.train.run import checkpoint
from tests.support import tiny, training


@pytest.fixture(autouse=True, scope="module")
def quick():
    yield from training.quick_compilation()


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
    latents.encode(own["encoder"], c, corpus, folder / "latents", quiet=True)
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
    assert command(lm.main, folders, run, *own, "--steps=3", "--rate=0.1", "--guide=1") == 1
    refusal = capsys.readouterr().err
    assert "--guide=1.0, was 5.0, --rate=0.1, was 0.0015" in refusal
    assert "--accept_changes" in refusal and refusal.count("\n") == 1
    params, c, tokenizer, meta = runs.load(run)
    trained, mimi, _ = codecs.load(folders / "codec")
    assert (c.mimi, c.model_recommended_frames_after_eos) == (mimi, 2)
    assert meta["encoder"] == latents.encoder_key(trained["encoder"])
    jax.tree.map(
        lambda leaf, shape: np.testing.assert_array_equal(leaf.shape, shape),
        params,
        weights.template(c)["lm"],
    )
    plain, c_plain, _, _ = runs.load(run, plain=True)
    assert c_plain.flow_lm.flow.type == "plain"
    assert plain["head"]["modulation"]["cond"]["w"].shape == (16, 16)
    student = tmp_path / "student"
    taught = (f"--teacher={run}", "--steps=1")
    assert command(distill.main, folders, student, *taught, "--guidance=1.5") == 0
    shallow, small, same, _ = runs.load(student)
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
    from_run, from_model = runs.start(str(run)), runs.start(file)
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
    assert runs.load(tmp_path / "new")[2].serialized == from_run.tokenizer.serialized


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

    params, c, _, _ = runs.load(run, plain=True)
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
    kept, _, _ = codecs.load(tmp_path / "decoder")
    before, _, _ = codecs.load(folders / "codec")
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
    about = training.tokenizer().serialized, True
    model = tmp_path / "model.safetensors"
    converted.save(model, Converted("small", c, params, *about))
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

    assert finetune.main(["t", *flags, *own, "--frozen=lm/head"]) == 1
    assert "--frozen=lm/head, was lm/backbone,lm/text" in capsys.readouterr().err
    fresh = (*own, f"--out={tmp_path}/fresh")
    assert finetune.main(["t", *flags, *fresh, "--frozen=lm/nothing"]) == 1
    assert "no parameter matches 'lm/nothing'" in capsys.readouterr().err
    pointwise = training.shallow("pointwise")
    params = {**params, "lm": jax.device_get(training.fresh(pointwise)["lm"])}
    c = dataclasses.replace(c, flow_lm=pointwise)
    converted.save(model, Converted("p", c, params, *about))
    assert finetune.main(["t", *flags, *own]) == 1
    assert "which only distillation can train" in capsys.readouterr().err
