"""Where a model computes: one device by name, or a batch over several."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from ptts_jax.engine import startup

PROGRAM = """
import threading
import jax
from ptts_jax.engine import stream
from ptts_jax.store import quantization
from tests.engine.test_rows_alone import C, _job, _voice
from tests.support import sound, tiny_files

def audio(kind, devices):
    params = tiny_files.params(C)
    if kind == "int8":
        params = quantization.quantize(params, quantization.parse("all"))
    weights = [jax.device_put(params, device) for device in devices]
    rows = range(8)
    voices, jobs = [_voice(9 + 7 * i) for i in rows], [_job(4 + 5 * i) for i in rows]
    return stream.batch(weights, C, voices, jobs, threading.Event())

assert len(jax.devices()) == 4
for kind in ("float", "int8"):
    for one, four in zip(audio(kind, jax.devices()[:1]), audio(kind, jax.devices()), strict=True):
        sound.same(one, four)
print("same")
"""


def test_a_batch_over_four_devices_is_the_same_audio():
    flags = "--xla_force_host_platform_device_count=4"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[2]
    line = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(line, env=env, cwd=root, capture_output=True, text=True)
    assert done.stdout.split() == ["same"], done.stderr[-3000:]


def test_devices_have_names():
    cpu = jax.devices("cpu")[0]
    assert startup.find_devices(None) == ()
    for choice in ("cpu", "cpu:0", cpu, [cpu], ["cpu"]):
        assert startup.find_devices(choice) == (cpu,)


@pytest.mark.parametrize("choice", ["gpu7", "cpu:99", "cpu:x", "", 5])
def test_a_device_that_is_not_there_is_one_line(choice):
    with pytest.raises(ValueError, match=r"not on this machine \(there are .*cpu:0"):
        startup.find_devices(choice)
