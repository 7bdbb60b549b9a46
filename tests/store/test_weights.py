"""Weights from a checkpoint, and the converted copy in the cache."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from ptts_jax.store import safetensors, weights
from tests.support.small_weights import (
    CONFIG,
    PARAMS,
    assert_same,
    fetcher,
    load,
    random_params,
    truncate,
    write_source,
)


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "weights").iterdir())


def test_template_is_the_shapes_of_init():
    params = jax.eval_shape(lambda: weights.init(jax.random.key(0), CONFIG))
    assert jax.tree.map(lambda x: x.shape, params) == weights.template(CONFIG)


def test_load_converts_and_keeps_a_copy(source, cache):
    loaded = load(source, cache)
    assert_same(loaded.params, PARAMS)
    assert loaded.has_voice_cloning
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded.params))
    assert len(kept(cache)) == 1


def test_the_second_load_only_maps_the_copy(source, cache, monkeypatch):
    load(source, cache)
    monkeypatch.setattr(weights, "from_reference", None)
    monkeypatch.setattr(weights, "template", None)
    loaded = load(source, cache)
    assert_same(loaded.params, PARAMS)
    assert loaded.has_voice_cloning
    # Every tensor whose size keeps it on a boundary lies in the mapped file itself.
    (name,) = kept(cache)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [[int(x, 16) for x in m[0].split("-")] for m in maps if m[-1] == str(name)]
    assert ranges
    mapped = 0
    for leaf in jax.tree.leaves(loaded.params):
        at = leaf.unsafe_buffer_pointer()
        if any(low <= at < high for low, high in ranges):
            mapped += leaf.nbytes
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.params))
    assert mapped > 0.9 * total


def test_donating_a_mapped_parameter_leaves_the_copy_alone(source, cache):
    load(source, cache)
    table = load(source, cache).params["lm"]["text"]["table"]
    jax.block_until_ready(jax.jit(lambda x: x.at[0].set(7.0), donate_argnums=0)(table))
    assert_same(load(source, cache).params, PARAMS)


def test_a_line_says_that_it_converts_and_only_then(source, cache, capsys):
    for words in ("converting", ""):
        weights.load(CONFIG, fetcher(gated=source), cache_dir=cache)
        captured = capsys.readouterr()
        assert words in captured.err and bool(captured.err) == bool(words) and not captured.out


# The converted copy is never taken for another's, nor when damaged.


def test_another_content_of_the_same_size_and_time_is_converted_anew(source, cache):
    load(source, cache)
    stat = source.stat()
    other = random_params(1)
    write_source(source, other)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source.stat().st_size == stat.st_size
    assert_same(load(source, cache).params, other)
    assert len(kept(cache)) == 2


def test_a_changed_file_is_converted_anew_wherever_it_changed(source, cache):
    load(source, cache)
    time.sleep(0.02)  # a clock tick of the file system
    with source.open("rb+") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    load(source, cache)
    assert len(kept(cache)) == 2


def test_files_of_the_hub_are_known_by_their_name(tmp_path, cache):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    write_source(blobs / ("ab" * 32))
    for revision in ("one", "two"):
        link = tmp_path / revision
        link.symlink_to(blobs / ("ab" * 32))
        load(link, cache)
        os.utime(blobs / ("ab" * 32))
    assert len(kept(cache)) == 1
    os.rename(blobs / ("ab" * 32), blobs / ("cd" * 32))
    load(blobs / ("cd" * 32), cache)
    assert len(kept(cache)) == 2


def test_only_the_architecture_belongs_to_the_key(source, cache):
    load(source, cache)
    table = dataclasses.replace(CONFIG.flow_lm.lookup_table, tokenizer_path="another")
    lm = dataclasses.replace(CONFIG.flow_lm, lookup_table=table)
    load(source, cache, dataclasses.replace(CONFIG, flow_lm=lm, default_temperature=0.9))
    assert len(kept(cache)) == 1
    heads = dataclasses.replace(CONFIG.flow_lm.transformer, num_heads=8)
    load(
        source,
        cache,
        dataclasses.replace(CONFIG, flow_lm=dataclasses.replace(lm, transformer=heads)),
    )
    assert len(kept(cache)) == 2


@pytest.mark.parametrize("format", ["0", "99"])
def test_a_copy_in_another_format_is_not_used(source, cache, monkeypatch, format):
    with monkeypatch.context() as patch:
        patch.setattr(weights, "FORMAT", format)
        load(source, cache)
    load(source, cache)
    assert len(kept(cache)) == 2


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _zero_a_block(path):
    content = bytearray(path.read_bytes())
    content[-8192:-4096] = bytes(4096)
    path.write_bytes(content)


def _other_file(path):
    safetensors.write(path, {"lm/text/table": np.ones(3)})


def _empty(path):
    path.write_bytes(b"")


def _folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [truncate, _flip, _zero_a_block, _other_file, _empty, _folder])
def test_a_damaged_copy_is_never_used(source, cache, spoil):
    load(source, cache)
    (path,) = kept(cache)
    right = path.read_bytes()
    spoil(path)
    assert_same(load(source, cache).params, PARAMS)
    if spoil is not _folder:
        assert path.read_bytes() == right  # it was built again


@pytest.mark.parametrize("when", ["write", "rename"])
def test_killed_while_it_converts(source, cache, when):
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from ptts_jax.store import safetensors
        from tests.store import test_weights as t

        def die(*args):
            os.kill(os.getpid(), signal.SIGKILL)

        def as_bytes(x, real=safetensors.as_bytes):
            parts = Path(sys.argv[2]).glob("weights/.*.safetensors")
            return die() if any(part.stat().st_size for part in parts) else real(x)

        if {when!r} == "rename":
            os.replace = die
        else:
            safetensors.as_bytes = as_bytes
        t.load(Path(sys.argv[1]), Path(sys.argv[2]))
    """
    code = textwrap.dedent(script)
    killed = subprocess.run([sys.executable, "-c", code, str(source), str(cache)], cwd=Path.cwd())
    assert killed.returncode == -signal.SIGKILL
    (part,) = kept(cache)
    assert part.name.startswith(".") and part.stat().st_size > 0
    assert_same(load(source, cache).params, PARAMS)
    assert len(kept(cache)) == 2 and part.exists()  # it may belong to a process at work

    os.utime(part, (0, 0))
    write_source(source, random_params(1))
    load(source, cache)
    assert not part.exists()


def test_a_cache_that_cannot_be_written_is_no_error(source, tmp_path):
    (tmp_path / "file").write_text("")
    assert_same(load(source, tmp_path / "file").params, PARAMS)
    assert_same(load(source, tmp_path / "file" / "below").params, PARAMS)


def test_a_full_disk_is_no_error(source, cache, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_same(load(source, cache).params, PARAMS)
    assert kept(cache) == []


def test_several_threads_at_once(source, cache):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(load(source, cache).params)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for params in found:
        assert_same(params, PARAMS)
    assert len(kept(cache)) == 1
