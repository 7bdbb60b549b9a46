"""The scan benchmark: caches with drivers, and a stranger's cache among them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ptts_jax.bench import __main__ as bench
from ptts_jax.bench.scan import drivers, measure
from ptts_jax.model import caches
from tests.support import tiny_files
from tests.support.mistakes import mistakes

CACHES = ["full", "int8", "strange:Sliding"]
NOTEBOOK = Path(__file__).parents[2] / "colab" / "scan.ipynb"


def run(*arguments: str) -> int:
    return bench.main(["bench", "scan", *arguments])


@pytest.fixture(scope="module")
def strange(tmp_path_factory) -> Path:
    """A folder with a module that holds the notebook's cache."""
    folder = tmp_path_factory.mktemp("strange")
    cells = [
        "".join(cell["source"])
        for cell in json.loads(NOTEBOOK.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    (imports,) = (cell for cell in cells if "import jax\n" in cell)
    (own,) = (cell for cell in cells if "class Sliding" in cell)
    (folder / "strange.py").write_text(imports.partition("TEXT =")[0] + own)
    return folder


@pytest.fixture(scope="module")
def results(files, tmp_path_factory, strange) -> dict:
    folder = tmp_path_factory.mktemp("scan")
    few = ["--fills=20,150", "--frames=8", "--repeats=1", "--texts=1", "--weights=float"]
    few += ["--drivers=loop,scan", "--caches=full,int8"]
    own = ["--cache=strange:Sliding", f"--output={folder / 'out'}", f"--model={files.yaml}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(strange)
        assert run(*few, *own) == 0
    sys.modules.pop("strange")
    made = {path.name: path for path in (folder / "out").iterdir()}
    assert set(made) == {"scan.json", "scan.md", "scan.png"}
    return json.loads(made["scan.json"].read_text()) | {"table": made["scan.md"].read_text()}


def test_every_driver_makes_the_same_frames():
    params, config = tiny_files.params(), tiny_files.CONFIG
    made = {}
    for name in drivers.NAMES:
        driver = drivers.make(name, 4)
        state = measure.empty(params, config, caches.find("full"), 200)
        call, latents = driver.compiled(params, config, state), []
        noise = driver.noise(config.mimi.latent_dim)
        for _ in range(4 // driver.frames):
            state, frame = call(params, state, noise, *driver.further)
            latents.append(np.asarray(frame.latent).reshape(-1, config.mimi.latent_dim))
        made[name] = np.concatenate(latents)
    for latents in made.values():
        assert latents.shape == made["loop"].shape and np.abs(latents).max() > 0.1
        np.testing.assert_allclose(latents, made["loop"], atol=1e-5)


def test_every_cache_is_timed_with_every_driver(results):
    (weights,) = results["weights"]
    timings = weights["timings"]
    assert [(t["cache"], t["driver"]) for t in timings] == [
        (cache, driver) for cache in CACHES for driver in ("loop", "scan")
    ]
    for t in timings:
        assert len(t["milliseconds"]) == 2 and min(t["milliseconds"]) > 0
        assert t["cache_bytes"] > 0 and t["compile_seconds"] > 0
    sizes = {t["cache"]: t["cache_bytes"] for t in timings}
    assert sizes["int8"] < sizes["full"] == sizes["strange:Sliding"]
    for name in CACHES:
        assert f"| {name} | scan |" in results["table"]


def test_caches_are_compared_with_the_full_one(results):
    (weights,) = results["weights"]
    errors = {
        name: np.median([text["forced_latent"] for text in texts])
        for name, texts in weights["agreements"].items()
    }
    assert set(errors) == set(CACHES)
    assert errors["full"] == 0
    assert 0 < errors["int8"] < 0.2


@mistakes(
    """
    --caches=round               | round
    --cache=no_such_module:Class | no_such_module
    --drivers=walk               | walk
    --weights=int3               | int3
    --fills=some                 | --fills
    --fills=0                    | --fills
    --frames=6                   | --frames 6
    --model=nobody               | --model
    words                        | only flags
    """
)
def test_mistakes_are_one_line_before_any_work(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
