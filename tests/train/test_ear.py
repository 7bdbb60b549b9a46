"""The command that gives a model an ear."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from convert import flatten
from ptts_jax import tts
from ptts_jax.store import converted
from ptts_jax.store.converted import Converted
from ptts_jax.train import ear
from ptts_jax.train.data.corpus import write_corpus
from ptts_jax.train.run import checkpoint
from tests.support import tiny, training


@pytest.fixture(autouse=True, scope="module")
def quick():
    yield from training.quick_compilation()


@pytest.fixture
def folder(tmp_path):
    """A model and a corpus of hums."""
    c = dataclasses.replace(training.small(), flow_lm=training.shallow())
    lm = jax.device_get(training.fresh(c.flow_lm)["lm"])
    params = {"lm": lm, "codec": jax.device_get(tiny.params(tiny.PLAIN)["codec"])}
    about = training.tokenizer().serialized, True
    converted.save(tmp_path / "model.safetensors", Converted("small", c, params, *about))
    rng = np.random.default_rng(0)
    spoken = [
        (x.text, x.speaker, x.split, (rng.normal(size=x.length) * 3000).astype(np.int16))
        for x in training.clips()
    ]
    write_corpus(tmp_path / "corpus", spoken, c.mimi.sample_rate, {"engine": "hum"})
    return tmp_path


def command(folder, *more):
    few = ("--batch=4", "--width=16", "--joined=0", "--quiet", "--validate_every=20")
    paths = (f"--corpus={folder}/corpus", f"--out={folder}/run")
    return ear.main(["ear", f"--model={folder}/model.safetensors", *paths, *few, *more])


def test_it_learns_goes_on_and_is_in_the_model(folder):
    assert command(folder, "--steps=20") == 0
    _, step, meta = checkpoint.load(folder / "run")
    assert step == 20 and meta["stage"] == "ear"
    encoded = (folder / "run" / "latents" / "latents.npy").stat().st_mtime_ns
    assert command(folder, "--steps=60") == 0
    assert (folder / "run" / "latents" / "latents.npy").stat().st_mtime_ns == encoded
    rows = list(map(json.loads, (folder / "run" / "log.jsonl").read_text().splitlines()))
    nats = [row["nats"] for row in rows if "nats" in row]
    assert nats[-1] < 0.8 * nats[0]
    wrong = [row["heldout_mistakes"] for row in rows if "heldout_mistakes" in row]
    assert 0 < wrong[-1] < wrong[0]

    before, after = (
        tts.load(folder / name) for name in ("model.safetensors", "run/model.safetensors")
    )
    assert before.ear is None and after.ear is not None
    assert after.config == before.config and after.name == before.name
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=0.02)  # noqa: E731 -- it is compact
    jax.tree.map(close, flatten(after.params), flatten(before.params))
    text = training.clips()[0].text
    tokens = after.tokenizer.encode(text)
    latents = np.load(folder / "run" / "latents" / "latents.npy")[:9]
    assert np.isfinite(after.ear.doubt(tokens, latents))


def test_a_model_that_hears_nothing_is_refused(folder, capsys):
    path = folder / "model.safetensors"
    model = tts.load(path)
    halves = {**model.params, "codec": {"decoder": model.params["codec"]["decoder"]}}
    converted.save(path, converted.of(model, params=halves))
    assert command(folder, "--steps=2") == 1
    assert "it was written without its encoder" in capsys.readouterr().err
    assert not (folder / "run" / "model.safetensors").exists()


def test_letters_that_are_misheard_are_counted():
    heard = np.eye(4)[[0, 1, 1, 0, 1, 2, 0, 2]]
    assert ear.mistakes(heard, np.array([1, 1, 2, 2])) == 0
    assert ear.mistakes(heard, np.array([1, 2, 3])) == 2
    assert ear.mistakes(heard[:1], np.array([1, 2])) == 2


def test_what_has_no_room_teaches_nothing():
    params = ear.ear.init(np.random.default_rng(0), 6, 8, 4)
    x = np.random.default_rng(1).normal(size=(2, 3, 6)).astype(np.float32)
    rows = {
        "latents": x,
        "no_slot": np.zeros((2, 12), np.float32),
        "sounds": np.array([[1, 2, 3] + [0] * 9, [1] * 12]),
        "no_sound": np.array([[0] * 3 + [1] * 9, [0] * 12], np.float32),
    }
    alone = {name: leaf[:1] for name, leaf in rows.items()}
    assert float(ear.loss(params, rows, None)) == pytest.approx(
        float(ear.loss(params, alone, None))
    )
