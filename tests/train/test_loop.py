"""The training loop and its checkpoints, on a stage that learns a linear map in no time."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ptts_jax.store import safetensors
from ptts_jax.store.safetensors import FileError
from ptts_jax.train import plot
from ptts_jax.train.run import checkpoint, log, loop, optim


def optimiser(steps):
    return optim.adamw(optim.schedule(1e-2, steps, 5))


def init(key):
    params = {"w": jax.random.normal(key, (4,)), "m": jax.random.normal(key, (4, 4))}
    return {"params": params, "ema": params, "opt": optimiser(60).init(params)}


def update(state, batch, key, progress):
    def total(params):
        noisy = batch["x"] + 0.01 * jax.random.normal(key, batch["x"].shape)
        return jnp.mean((noisy @ params["m"] @ params["w"] - batch["y"]) ** 2)

    loss, grads = jax.value_and_grad(total)(state["params"])
    tx = optimiser(progress.steps)
    updates, opt = tx.update(grads, state["opt"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = optim.average(state["ema"], params, progress.step, 0.9)
    return {"params": params, "ema": ema, "opt": opt}, {"loss": loss}


def batch(step):
    x = np.random.default_rng(step).normal(size=(8, 4)).astype(np.float32)
    return {"x": x, "y": x.sum(1)}


def slow_batch(step):
    time.sleep(0.02)
    return batch(step)


STAGE = loop.Stage("toy", init, update, batch)


def run(out, steps, stage=STAGE, **options):
    options = {"seed": 0, "quiet": True, "log_every": 10} | options
    return loop.run(stage, out=out, steps=steps, **options)


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path):
    whole = run(tmp_path / "a", 40)

    def stopping(step):
        if step == 18:  # a step is made ready while the one before is computed
            raise InterruptedError
        return batch(step)

    with pytest.raises(InterruptedError):
        run(tmp_path / "b", 40, dataclasses.replace(STAGE, batch=stopping), save_minutes=0)
    assert checkpoint.load(tmp_path / "b")[1] == 18
    assert same(run(tmp_path / "b", 40), whole)
    steps = [entry["step"] for entry in log.read(tmp_path / "b")]
    assert steps == sorted(set(steps)) and steps[-1] == 40
    assert not same(run(tmp_path / "c", 40, seed=1), whole)


def test_it_learns_and_averages(tmp_path):
    state = run(tmp_path, 60)
    entries = log.read(tmp_path)
    assert entries[-1]["loss"] < entries[0]["loss"]
    assert not same(state["ema"], state["params"])


def test_average_forgets_the_start():
    ema = params = {"w": jnp.zeros(())}
    for step in range(5):
        params = {"w": jnp.array(step + 1.0)}
        ema = optim.average(ema, params, jnp.array(step), 0.5)
    expected = 0.0
    for step in range(5):
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * (step + 1)
    np.testing.assert_allclose(ema["w"], expected, rtol=1e-6)


def test_rates_rise_and_fall():
    rate = optim.schedule(1.0, 100, 10)
    assert rate(0) == 0 and rate(10) == 1
    want = optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 100, 0.02)
    traced = jax.jit(lambda count, steps: optim.schedule(1.0, steps, 10)(count))
    for count in (0, 3, 10, 55, 99, 120):
        np.testing.assert_allclose(traced(count, 100), want(count), rtol=1e-6)
    np.testing.assert_allclose(rate(55), 0.02 + 0.98 * 0.5, rtol=1e-5)
    np.testing.assert_allclose(rate(100), 0.02, rtol=1e-5)


def test_decay_is_of_matrices_alone():
    tx = optim.adamw(0.1, decay=0.5)
    params = {"m": jnp.ones((2, 2)), "b": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)
    np.testing.assert_allclose(updates["m"], -0.05)
    np.testing.assert_allclose(updates["b"], 0)


def test_validation_is_logged(tmp_path):
    found = []
    stage = loop.Stage("toy", init, update, batch, lambda state: found.append(1) or {"v": 2})
    run(tmp_path, 10, stage, validate_every=4)
    assert [e["step"] for e in log.read(tmp_path) if "v" in e] == [4, 8, 10]
    assert len(found) == 3


SHARDED = """
import sys
from pathlib import Path
import jax
from tests.train.test_loop import STAGE, run
out = Path(sys.argv[1])
assert len(jax.devices()) == 4
run(out / "four", 20)
run(out / "one", 20, devices=jax.devices()[:1])
try:
    run(out / "three", 20, devices=jax.devices()[:3])
except ValueError as error:
    print(error)
"""


def test_many_devices_learn_as_one(tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", SHARDED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "batch of 8: must be a multiple of the 3 devices" in done.stdout
    four, one = ([e["loss"] for e in log.read(tmp_path / n)] for n in ("four", "one"))
    np.testing.assert_allclose(four, one, rtol=1e-4)
    states = (checkpoint.load(tmp_path / name)[0]["params"] for name in ("four", "one"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *states)


SLOW = """
import dataclasses, sys
from pathlib import Path
from tests.train.test_loop import STAGE, run, slow_batch
stage = dataclasses.replace(STAGE, batch=slow_batch)
try:
    run(Path(sys.argv[1]), 100000, stage, log_every=1, save_minutes=float(sys.argv[2]))
except KeyboardInterrupt as error:
    print(error)
    sys.exit(130)
"""


def started(out, minutes, until):
    """A slow run in a process of its own, after it has logged so many steps."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(out), str(minutes)], stdout=subprocess.PIPE, text=True
    )
    while len(log.read(out)) < until:
        assert process.poll() is None
        time.sleep(0.05)
    return process


def test_ctrl_c_saves(tmp_path):
    process = started(tmp_path, 100, 3)
    assert not checkpoint.exists(tmp_path)
    process.send_signal(signal.SIGINT)
    words, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "goes on from there" in words
    assert checkpoint.load(tmp_path)[1] >= 3


def test_a_killed_run_leaves_a_checkpoint(tmp_path):
    process = started(tmp_path, 0, 5)
    process.kill()
    process.wait()
    _, step, meta = checkpoint.load(tmp_path, jax.eval_shape(init, jax.random.key(0)))
    assert step >= 4 and meta == {"stage": "toy", "seed": 0}
    run(tmp_path, step + 2)
    assert checkpoint.load(tmp_path)[1] == step + 2
    assert len(list(tmp_path.glob("checkpoint-*"))) == 1


@pytest.mark.parametrize("written", ["tensors", "json"])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, written):
    run(tmp_path, 10)
    before = sorted(p.name for p in tmp_path.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if written == "tensors":
        monkeypatch.setattr(safetensors, "as_bytes", full)
    else:
        monkeypatch.setattr(checkpoint, "atomic_write", full)
    with pytest.raises(FileError, match="No space left") as raised:
        run(tmp_path, 20)
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)
    assert checkpoint.load(tmp_path)[1] == 10
    if written == "tensors":
        assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_what_is_no_number_stops_the_run(tmp_path):
    def broken(state, batch, key, progress):
        return state, {"loss": jnp.where(progress.step < 15, 1.0, jnp.nan)}

    run(tmp_path, 10)
    with pytest.raises(ValueError, match="keeps step 10"):
        run(tmp_path, 40, loop.Stage("toy", init, broken, batch))
    assert checkpoint.load(tmp_path)[1] == 10


def test_another_run_is_refused(tmp_path):
    run(tmp_path, 5)
    with pytest.raises(ValueError, match="toy with seed 0"):
        run(tmp_path, 10, seed=1)
    with pytest.raises(ValueError, match="holds a run of toy"):
        run(tmp_path, 10, loop.Stage("other", init, update, batch))

    def smaller(key):
        return {"params": {"w": jnp.zeros(4)}}

    with pytest.raises(FileError, match="made with other options"):
        run(tmp_path, 10, loop.Stage("toy", smaller, update, batch))


def with_flags(stage=STAGE, **flags):
    return dataclasses.replace(stage, meta={"flags": flags})


def test_two_runs_never_share_a_folder(tmp_path):
    with (
        checkpoint.alone(tmp_path / "run"),
        pytest.raises(ValueError, match="run: another run is training there; stop it first"),
        checkpoint.alone(tmp_path / "run"),
    ):
        pass
    with checkpoint.alone(tmp_path / "run"):  # free again
        pass


def test_a_run_goes_on_with_the_flags_it_was_begun_with(tmp_path):
    run(tmp_path, 5, with_flags(rate=0.1, voices=("8", "16")))
    run(tmp_path, 6, with_flags(rate=0.1, voices=("8", "16"), new=True))
    with pytest.raises(ValueError, match=r"\(--new=False, was True, --rate=0.2, was 0.1\)"):
        run(tmp_path, 10, with_flags(rate=0.2, voices=("8", "16"), new=False))
    assert checkpoint.load(tmp_path)[1] == 6
    run(tmp_path, 10, with_flags(rate=0.2), accept_changes=True)
    run(tmp_path, 11, with_flags(rate=0.2))  # from now on the new ones
    assert checkpoint.load(tmp_path)[1] == 11


def test_a_checkpoint_without_flags_goes_on(tmp_path):
    """As they were written before flags were kept."""
    run(tmp_path, 5)
    run(tmp_path, 7, with_flags(rate=0.1))
    assert checkpoint.describe(tmp_path)["flags"] == {"rate": 0.1}


def test_a_longer_run_compiles_no_step_anew(tmp_path):
    traced = []

    def counted(*args):
        traced.append(1)
        return update(*args)

    both = jax.jit(counted)
    state = init(jax.random.key(0))
    for steps in (10, 20):
        progress = loop.Progress(np.int32(3), np.int32(steps))
        both(state, batch(0), jax.random.key(0), progress)
    assert len(traced) == 1


def test_damaged_and_missing_checkpoints(tmp_path):
    with pytest.raises(FileError, match="no checkpoint there"):
        checkpoint.load(tmp_path)
    (tmp_path / checkpoint.NAME).write_text("{}")
    with pytest.raises(FileError, match="damaged"):
        checkpoint.load(tmp_path)
    (tmp_path / checkpoint.NAME).write_text(json.dumps({"step": 1, "file": "gone", "meta": {}}))
    with pytest.raises(FileError, match="gone"):
        checkpoint.load(tmp_path)


def test_the_log_survives_a_cut(tmp_path):
    for step in (10, 20, 30):
        log.append(tmp_path, step, {"loss": 1 / step})
    with (tmp_path / log.NAME).open("a") as file:
        file.write('{"step": 40, "lo')
    assert [e["step"] for e in log.read(tmp_path)] == [10, 20, 30]
    log.restart(tmp_path, 20)
    assert [e["step"] for e in log.read(tmp_path)] == [10, 20]


def test_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="an extra")
    run(tmp_path / "a", 20)
    assert plot.main(["plot", f"--runs={tmp_path / 'a'}"]) == 0
    assert (tmp_path / "a" / plot.NAME).read_bytes().startswith(b"\x89PNG")
    assert plot.main(["plot", f"--runs={tmp_path / 'none'}"]) == 1
    assert "no log.jsonl there" in capsys.readouterr().err


def test_without_matplotlib_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot.main(["plot", f"--runs={tmp_path}"]) == 1
    assert "matplotlib is not installed" in capsys.readouterr().err


def test_orthogonalised_updates():
    """Of chosen matrices; everything else is AdamW's."""
    rng = np.random.default_rng(0)
    params = {
        "layers": {"w": jnp.asarray(rng.normal(size=(6, 4))), "scale": jnp.ones(4)},
        "table": jnp.asarray(rng.normal(size=(6, 4))),
    }
    grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)
    tx = optim.muon(0.1, lambda path: path.startswith("layers/"), decay=0.0, clip=1e9)
    updates, _ = tx.update(grads, tx.init(params), params)
    spread = np.linalg.svd(updates["layers"]["w"], compute_uv=False)
    assert spread.max() / spread.min() < 2  # the gradient's: more than 3
    assert np.sqrt(np.mean(updates["layers"]["w"] ** 2)) == pytest.approx(0.02, rel=0.5)
    other = optim.adamw(0.1, decay=0.0, clip=1e9)
    plain, _ = other.update(grads, other.init(params), params)
    np.testing.assert_allclose(updates["table"], plain["table"], rtol=1e-5)
    np.testing.assert_allclose(updates["layers"]["scale"], plain["layers"]["scale"], rtol=1e-5)
