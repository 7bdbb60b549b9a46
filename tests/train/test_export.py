"""From two runs to a model that speaks."""

import jax
import numpy as np
import pytest

import int8.__main__ as quantise
import ptts_jax
from ptts_jax.engine import heads
from ptts_jax.model import schema
from ptts_jax.train import export
from ptts_jax.train.lm import command as lm
from ptts_jax.train.lm import runs
from ptts_jax.train.run import checkpoint
from tests.support import tiny
from tests.train.test_lm_commands import SMALL, command, folders  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("export") / "lm"
    assert command(lm.main, folders, out, f"--codec={folders}/codec", *SMALL, "--steps=1") == 0
    return out


def exported(folders, run, out, *more, codec="codec"):  # noqa: F811
    own = (f"--lm={run}", f"--codec={folders}/{codec}", f"--corpus={folders}/corpus")
    return export.main(["export", *own, f"--out={out}", *more])


@pytest.mark.parametrize("plain", [False, True])
def test_a_model_and_a_voice_of_each_speaker(folders, run, tmp_path, plain):  # noqa: F811
    more = ["--name=ours", "--temperature=0.1", *(["--plain", "--spread=1.25"] if plain else [])]
    assert exported(folders, run, tmp_path / "out", *more) == 0
    assert sorted(p.name for p in (tmp_path / "out" / "voices").iterdir()) == [
        "a.safetensors",
        "b.safetensors",
    ]
    tts = ptts_jax.load(tmp_path / "out" / "model.safetensors")
    assert (tts.name, tts.config.default_temperature) == ("ours", pytest.approx(0.1))
    assert tts.config.flow_lm.flow.type == ("plain" if plain else "lsd")
    learnt = runs.load(run)[0]
    np.testing.assert_allclose(
        tts.params["lm"]["std"], learnt["std"] * (1.25 if plain else 1), rtol=1e-3
    )
    np.testing.assert_allclose(tts.params["lm"]["mean"], learnt["mean"], rtol=1e-3, atol=1e-6)
    waves = [
        tts.generate("The cat sat.", tmp_path / "out" / "voices" / f"{name}.safetensors", seed=1)
        for name in "ab"
    ]
    assert all(len(wave) and np.isfinite(wave).all() for wave in waves)
    assert tts.known_heads is None, "none follows the text after a single step"


def test_heads_that_follow_the_text_are_noted(folders, run, tmp_path, monkeypatch):  # noqa: F811
    found = heads.Heads(((0, 1),), 2, heads.UNSURE + 0.1)
    monkeypatch.setattr(heads, "calibrated", lambda *_: found)
    assert exported(folders, run, tmp_path) == 0
    tts = ptts_jax.load(tmp_path / "model.safetensors")
    assert tts.known_heads == found
    int8_file = tmp_path / "int8.safetensors"
    assert quantise.main(["int8", str(tmp_path / "model.safetensors"), str(int8_file)]) == 0
    assert ptts_jax.load(int8_file).known_heads == found


def test_a_codec_that_does_not_belong_is_refused(folders, run, tmp_path, capsys):  # noqa: F811
    other = jax.tree.map(lambda leaf: leaf + 1, jax.device_get(tiny.params(tiny.PLAIN)["codec"]))
    about = {"stage": "codec", "seed": 0, "mimi": schema.write(tiny.PLAIN.mimi)}
    checkpoint.save(folders / "other", {"ema": other}, 1, about)
    assert exported(folders, run, tmp_path / "out", codec="other") == 1
    assert "another encoder than the one" in capsys.readouterr().err
    assert exported(folders, folders / "codec", tmp_path / "out") == 1
    assert "not the run of a language model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
