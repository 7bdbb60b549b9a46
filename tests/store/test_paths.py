"""Files that are written beside their name, then renamed."""

import os

import pytest

from ptts_jax.store import hub


def test_atomic_write(tmp_path):
    path = tmp_path / "a.json"
    with hub.atomic_write(path) as beside:
        assert beside.parent == tmp_path and beside.suffix == ".json"
        beside.write_text("one")
        assert not path.exists()
    for stop in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(stop), hub.atomic_write(path) as beside:
            beside.write_text("half")
            raise stop
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.json"]


def test_atomic_write_follows_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a.txt"
    target.write_text("old")
    (tmp_path / "link.txt").symlink_to(target)
    with hub.atomic_write(tmp_path / "link.txt") as beside:
        beside.write_text("new")
    assert (tmp_path / "link.txt").is_symlink() and target.read_text() == "new"
