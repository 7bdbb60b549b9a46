"""The same work on a real Ray cluster: two nodes on this machine, whose workers are killed."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ptts_jax.bulk import finish
from ptts_jax.bulk.cluster import take_cores
from ptts_jax.bulk.job import Folder
from tests.bulk.conftest import index, write

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
LINES = 60


@pytest.fixture(scope="module")
def two_nodes():
    """A cluster of two raylets."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(num_cpus=2)
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def killing(out: Path, killed: list[int], ended: threading.Event) -> None:
    """Kills the process that claims a shard, when the second and the eighth are done."""
    for done in (2, 8):
        while len(Folder(str(out)).done()) < done and not ended.is_set():
            time.sleep(0.01)
        while not ended.is_set():
            try:
                claim = next((out / ".claims").glob("0*")).read_text()
                process = json.loads(claim)["process"][1]
                os.kill(process, signal.SIGKILL)
                killed.append(process)
                break
            except (StopIteration, OSError, ValueError):
                time.sleep(0.002)


def test_killed_workers_lose_nothing_and_double_nothing(bulk, two_nodes, tmp_path):
    assert len(ray.nodes()) == 2
    write(tmp_path / "lines.jsonl", [{"text": f"This is line {n}."} for n in range(LINES)])
    out, killed, ended = tmp_path / "out", [], threading.Event()
    killer = threading.Thread(target=killing, args=(out, killed, ended))
    killer.start()
    try:
        code, err = bulk(str(tmp_path / "lines.jsonl"), str(out), "--ray=auto", "--ray_actors=2")
    finally:
        ended.set()
        killer.join()
    assert code == 0 and f"{LINES} lines done" in err, err
    assert len(killed) == 2
    assert [record["line"] for record in index(out)] == list(range(1, LINES + 1))
    found = finish.verify(Folder(str(out)))
    assert (found.damaged, found.missing, found.failed, found.twice) == ([], [], 0, 0)
    # Plain processes find nothing left to do.
    code, err = bulk(str(tmp_path / "lines.jsonl"), str(out))
    assert code == 0 and f"{LINES} lines done, 0 of them now" in err


def test_a_strict_mistake_is_one_line(bulk, two_nodes, tmp_path):
    write(tmp_path / "lines.jsonl", [{"text": "One."}, {"text": "[rate 9] Two."}])
    words = [str(tmp_path / "lines.jsonl"), str(tmp_path / "out"), "--ray=auto", "--strict"]
    code, err = bulk(*words)
    assert code == 1 and err.splitlines()[-1].startswith(f"error: {words[0]}: line 2: ")


def test_mistakes(bulk, tmp_path, monkeypatch):
    write(tmp_path / "lines.jsonl", [{"text": "One."}])
    code, err = bulk("-", "out", "--ray=auto")
    assert code == 1 and "standard input cannot be shared; name a file" in err
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    code, err = bulk("lines.jsonl", "out", "--ray=auto")
    assert code == 1 and "--ray: run pip install 'ptts_jax[ray]'" in err


def test_actors_have_cores_of_their_own(tmp_path):
    before = os.sched_getaffinity(0)
    try:
        one = take_cores(1, tmp_path)
        assert len(os.sched_getaffinity(0)) == 1
        os.sched_setaffinity(0, before)
        two = take_cores(len(before), tmp_path)
        assert two == [] and os.sched_getaffinity(0) == before, "one is taken: all are shared"
        for file in one:
            file.close()
        assert len(take_cores(len(before), tmp_path)) == len(before)
    finally:
        os.sched_setaffinity(0, before)
