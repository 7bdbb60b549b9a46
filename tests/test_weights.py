"""Loading weights: combinations of files, the converted copy and its dangers, our own files."""

import dataclasses
import json
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

import convert.__main__
from convert import ConvertError, FileError, files, flatten, to_reference, unflatten
from ptts_jax import config as configs
from ptts_jax import weights
from tests import tiny, tokens

CONFIG = dataclasses.replace(tiny.PLAIN, weights_path="gated", mimi=tiny.PLAIN.mimi)


def random_params(seed: int = 0) -> dict:
    dice = np.random.default_rng(seed)
    shapes = flatten(weights.template(CONFIG))
    return unflatten({path: dice.standard_normal(s, np.float32) for path, s in shapes.items()})


PARAMS = random_params()


def write_source(path: Path, params: dict = PARAMS) -> Path:
    files.write(path, to_reference(params))
    return path


def fetcher(**known: Path):
    """A `fetch` that has only these; it notes what it was asked for."""

    def fetch(sources, *, quiet):
        fetch.asked.append(list(sources))
        for index, source in enumerate(sources):
            if source in known:
                return known[source], index
        raise FileError(f"cannot fetch {sources}")

    fetch.asked = []
    return fetch


@pytest.fixture
def source(tmp_path):
    return write_source(tmp_path / "model.safetensors")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def load(source, cache, config=CONFIG):
    return weights.load(config, fetcher(gated=source), cache_dir=cache, quiet=True)


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "weights").iterdir())


def assert_same(a, b):
    a, b = flatten(a), flatten(b)
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(np.asarray(a[name]), np.asarray(b[name])), name


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
        patch.setattr(weights, "KEPT_FORMAT", format)
        load(source, cache)
    load(source, cache)
    assert len(kept(cache)) == 2


def _truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _zero_a_block(path):
    content = bytearray(path.read_bytes())
    content[-8192:-4096] = bytes(4096)
    path.write_bytes(content)


def _other_file(path):
    files.write(path, {"lm/text/table": np.ones(3)})


def _empty(path):
    path.write_bytes(b"")


def _folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_truncate, _flip, _zero_a_block, _other_file, _empty, _folder])
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
        from convert import files
        from tests import test_weights as t

        def die(*args):
            os.kill(os.getpid(), signal.SIGKILL)

        def as_bytes(x, real=files.as_bytes):
            parts = Path(sys.argv[2]).glob("weights/.*.part")
            return die() if any(part.stat().st_size for part in parts) else real(x)

        if {when!r} == "rename":
            os.replace = die
        else:
            files.as_bytes = as_bytes
        t.load(Path(sys.argv[1]), Path(sys.argv[2]))
    """
    code = textwrap.dedent(script)
    killed = subprocess.run([sys.executable, "-c", code, str(source), str(cache)], cwd=Path.cwd())
    assert killed.returncode == -signal.SIGKILL
    (part,) = kept(cache)
    assert part.suffix == ".part" and part.stat().st_size > 0
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


# Which files make a model.


def combined(bundle=None, public=None, lm=None, codec=None):
    return dataclasses.replace(
        CONFIG,
        weights_path=bundle,
        weights_path_without_voice_cloning=public,
        flow_lm=dataclasses.replace(CONFIG.flow_lm, weights_path=lm),
        mimi=dataclasses.replace(CONFIG.mimi, weights_path=codec),
    )


@pytest.fixture
def parts(tmp_path):
    """Files of two models: both bundles, and raw parts of the second."""
    second = random_params(1)
    tensors = to_reference(second)
    lm = {k.removeprefix("flow_lm."): x for k, x in tensors.items() if k.startswith("flow_lm.")}
    codec = {k: x for k, x in tensors.items() if k.startswith("mimi.")}
    files.write(tmp_path / "lm", lm)
    files.write(tmp_path / "codec", codec)
    write_source(tmp_path / "bundle")
    return {name: tmp_path / name for name in ("bundle", "lm", "codec")}, second


@pytest.mark.parametrize(
    ("named", "lm_from", "codec_from", "asked"),
    [
        ({"bundle"}, "bundle", "bundle", [["bundle"]]),
        ({"bundle", "codec"}, "bundle", "parts", [["bundle"], ["codec"]]),
        ({"lm", "codec"}, "parts", "parts", [["lm"], ["codec"]]),
        ({"bundle", "lm", "codec"}, "bundle", "parts", [["bundle"], ["codec"]]),
        ({"public", "lm", "codec"}, "parts", "parts", [["lm"], ["codec"]]),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else "",
)
def test_combinations(parts, cache, named, lm_from, codec_from, asked):
    known, second = parts
    fetch = fetcher(**known)
    loaded = weights.load(
        combined(**{name: name for name in named}), fetch, cache_dir=cache, quiet=True
    )
    trees = {"bundle": PARAMS, "parts": second}
    assert_same(loaded.params["lm"], trees[lm_from]["lm"])
    assert_same(loaded.params["codec"], trees[codec_from]["codec"])
    assert fetch.asked == asked and loaded.has_voice_cloning


@pytest.mark.parametrize(
    ("named", "words"),
    [({"lm"}, "mimi.weights_path"), (set(), "weights_path"), ({"codec"}, "no w")],
)
def test_impossible_combinations(cache, named, words):
    with pytest.raises(ValueError, match=words):
        weights.load(
            combined(**{name: name for name in named}), fetcher(), cache_dir=cache, quiet=True
        )


@pytest.mark.parametrize("bundle", ["gated", None])
def test_the_public_weights_cannot_clone(source, cache, bundle):
    config = combined(bundle=bundle, public="public")
    fetch = fetcher(public=source)
    for _ in range(2):  # converted, and from the copy
        assert not weights.load(config, fetch, cache_dir=cache, quiet=True).has_voice_cloning
    assert fetch.asked[0] == [name for name in (bundle, "public") if name]
    config = combined(bundle="gated", public="public")
    gated = weights.load(config, fetcher(gated=source), cache_dir=cache, quiet=True)
    assert gated.has_voice_cloning


@pytest.mark.parametrize("part", ["seanet", "downsample"])
def test_a_zeroed_encoder_cannot_clone(tmp_path, cache, part):
    params = random_params()
    params["codec"]["encoder"][part] = jax.tree.map(np.zeros_like, params["codec"]["encoder"][part])
    source = write_source(tmp_path / "zeroed", params)
    for _ in range(2):
        assert not load(source, cache).has_voice_cloning


def test_misfits_name_the_file(tmp_path, cache):
    tensors = to_reference(PARAMS)
    del tensors["flow_lm.bos_emb"]
    path = tmp_path / "broken.safetensors"
    files.write(path, tensors)
    with pytest.raises(
        ConvertError, match=r"broken\.safetensors: .*flow_lm\.bos_emb \[8\] is miss"
    ):
        load(path, cache)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match=r"broken\.safetensors: .*cut short"):
        load(path, cache)
    path.unlink()
    with pytest.raises(FileError, match=r"broken\.safetensors: cannot be read"):
        load(path, cache)
    assert not (cache / "weights").exists()


# Self-contained files.


def save(path, **changes):
    fields = {
        "name": "small",
        "tokenizer": ("sentencepiece", b"pieces"),
        "voice_cloning": True,
    } | changes
    weights.save_converted(path, PARAMS, CONFIG, **fields)


@pytest.mark.parametrize("voice_cloning", [True, False])
def test_a_self_contained_file_gives_everything_back(tmp_path, voice_cloning):
    path = tmp_path / "all.safetensors"
    save(path, voice_cloning=voice_cloning)
    file = weights.load_converted(path)
    assert_same(file.params, PARAMS)
    assert jax.tree.structure(file.params) == jax.tree.structure(PARAMS)
    assert file.config == CONFIG and file.name == "small"
    assert file.tokenizer == ("sentencepiece", b"pieces")
    assert file.voice_cloning is voice_cloning


def edited(path, tensors=None, **metadata):
    save(path)
    old, meta = files.read(path)
    files.write(path, {**old, **(tensors or {})}, {**meta, **metadata})
    return path


def without(path, name):
    save(path)
    tensors, metadata = files.read(path)
    tensors.pop(name, None)
    metadata.pop(name, None)
    files.write(path, tensors, metadata)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: write_source(p) and p, "not a converted model"),
        (lambda p: edited(p, ptts_jax="99"), "written in format 99"),
        (lambda p: without(p, "params/lm/bos"), "missing or changed"),
        (lambda p: without(p, "tokenizer"), "missing or changed"),
        (lambda p: without(p, "config"), "missing or changed"),
        (lambda p: edited(p, {"params/lm/bos": np.ones(4)}), "missing or changed"),
        (lambda p: edited(p, {"params/lm/extra": np.ones(4)}), "missing or changed"),
        (lambda p: edited(p, config="flow_lm: ["), "not valid YAML"),
        (lambda p: edited(p, config="flow_lm: 1"), "mimi: missing"),
        (lambda p: _truncate(edited(p)) or p, "cut short"),
    ],
)
def test_self_contained_files_that_are_refused(tmp_path, make, words):
    path = make(tmp_path / "all.safetensors")
    with pytest.raises(ValueError) as caught:
        weights.load_converted(path)
    assert str(path) in str(caught.value) and words in str(caught.value)


# The command.


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model as a user has it: YAML, weights and tokenizer in a folder."""
    monkeypatch.setenv("PTTS_JAX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    vocabulary = tokens.write_tokenizer_json(folder / "tokenizer.json", 50)
    table = dataclasses.replace(CONFIG.flow_lm.lookup_table, tokenizer_path=str(vocabulary))
    config = dataclasses.replace(
        CONFIG,
        weights_path=str(write_source(folder / "weights.safetensors")),
        flow_lm=dataclasses.replace(CONFIG.flow_lm, lookup_table=table),
    )
    (folder / "model.yaml").write_text(configs.to_yaml(config))
    return folder


def command(*arguments) -> int:
    return convert.__main__.main([str(argument) for argument in arguments])


def test_command_to_one_file_and_back(model, tmp_path, capsys):
    one, back = tmp_path / "one.safetensors", tmp_path / "back.safetensors"
    assert command(model / "model.yaml", one) == 0
    tokenizer = (model / "tokenizer.json").read_bytes()
    for file in model.iterdir():
        file.unlink()
    file = weights.load_converted(one)
    assert_same(file.params, PARAMS)
    assert file.tokenizer == ("tokenizers", tokenizer)

    assert command(one, back, "--to_reference") == 0
    assert_same(files.read(back)[0], to_reference(PARAMS))
    described = configs.parse((tmp_path / "back.yaml").read_text(), "back.yaml")
    assert described.weights_path == str(back)
    assert Path(described.flow_lm.lookup_table.tokenizer_path).read_bytes() == tokenizer
    assert described.mimi == CONFIG.mimi
    captured = capsys.readouterr()
    assert not captured.out and str(back) in captured.err


def test_command_refuses_with_one_line_and_writes_nothing(model, tmp_path, capsys):
    source, good = model / "model.yaml", tmp_path / "out.safetensors"
    before = {path: path.read_bytes() for path in model.iterdir()}
    (tmp_path / "folder.safetensors").mkdir()
    for arguments, words in [
        ((source, tmp_path / "out.bin"), "must end in .safetensors"),
        ((source, tmp_path / "none" / "out.safetensors"), "folder does not exist"),
        ((source, tmp_path / "folder.safetensors"), "is a folder"),
        ((source, model / "weights.safetensors"), "overwrite"),
        ((source, model / "model.safetensors", "--to_reference"), "overwrite"),
        ((source, model / "tokenizer.safetensors", "--to_reference"), "overwrite"),
        ((tmp_path / "none.yaml", good), "none.yaml"),
        (("engish", good), "english"),
        ((model / "weights.safetensors", good), "not a converted model"),
    ]:
        assert command(*arguments) == 1, arguments
        captured = capsys.readouterr()
        last = captured.err.strip().splitlines()[-1]
        assert last.startswith("convert: ") and words in last, last
        assert not good.exists()
        assert {path: path.read_bytes() for path in model.iterdir()} == before


def test_command_interrupted(model, tmp_path, monkeypatch, capsys):
    def interrupt(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert command(model / "model.yaml", tmp_path / "out.safetensors") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))


def test_metadata_is_readable_by_other_programs(tmp_path):
    """The config travels as YAML in the header."""
    path = tmp_path / "all.safetensors"
    save(path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert configs.parse(header["__metadata__"]["config"], "header") == CONFIG
