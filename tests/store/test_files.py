"""Safetensors files: what is written can be read here and elsewhere, nothing damaged is."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ptts_jax.store import safetensors as files
from ptts_jax.store.safetensors import FileError

TYPES = ["bool", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8"]


def sample() -> dict[str, np.ndarray]:
    dice = np.random.default_rng(0)
    tensors = {kind: dice.integers(0, 100, (3, 5)).astype(kind) for kind in TYPES}
    return tensors | {
        "bfloat16": dice.standard_normal(7).astype(ml_dtypes.bfloat16),
        "big": dice.standard_normal((64, 33), np.float32),
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "é/name": np.arange(4, dtype=np.int8),
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.safetensors"


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name


def test_round_trip(path):
    files.write(path, sample(), {"key": "värde"})
    tensors, metadata = files.read(path)
    assert_equal(tensors, sample())
    assert metadata == {"key": "värde"}
    assert os.listdir(path.parent) == [path.name]


def test_the_safetensors_package_reads_ours_and_we_read_its(path):
    files.write(path, sample(), {"key": "value"})
    assert_equal(safetensors.numpy.load_file(path), sample())
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"key": "value"}
    safetensors.numpy.save_file(sample(), path, {"key": "other"})
    tensors, metadata = files.read(path)
    assert_equal(tensors, sample())
    assert metadata == {"key": "other"}


def test_without_tensors_and_metadata(path):
    files.write(path, {})
    assert files.read(path) == ({}, {})


def test_other_byte_orders_and_strides_are_written_plainly(path):
    x = np.arange(6, dtype=">f4").reshape(2, 3)
    files.write(path, {"x": x.T, "y": x[:, ::-1]})
    tensors, _ = files.read(path)
    assert tensors["x"].tolist() == x.T.tolist() and tensors["y"].tolist() == x[:, ::-1].tolist()


@settings(max_examples=40, deadline=None)
@given(shapes=st.lists(npst.array_shapes(max_dims=3, max_side=40), max_size=12))
def test_tensors_stand_on_boundaries_where_sizes_allow(tmp_path_factory, shapes):
    path = tmp_path_factory.mktemp("aligned") / "x.safetensors"
    files.write(path, {str(i): np.zeros(shape, np.float32) for i, shape in enumerate(shapes)})
    tensors, _ = files.read(path)
    for x in tensors.values():
        assert x.ctypes.data % 4 == 0
        assert x.nbytes % files.ALIGNMENT or x.ctypes.data % files.ALIGNMENT == 0


def test_reading_copies_nothing_and_cannot_change_the_file(path):
    files.write(path, sample())
    tensors, _ = files.read(path)
    assert not tensors["big"].flags.owndata and not tensors["big"].flags.writeable
    with path.open("rb+") as file:  # a view shows what becomes of the file, a copy would not
        file.seek(path.read_bytes().index(sample()["big"].tobytes()))
        file.write(np.float32(1234.5).tobytes())
    assert tensors["big"][0, 0] == 1234.5


def test_a_replaced_file_does_not_disturb_its_readers(path):
    files.write(path, sample())
    tensors, _ = files.read(path)
    files.write(path, {"big": np.zeros(3)})
    assert_equal(tensors, sample())


def test_a_link_keeps_pointing_where_it_points(tmp_path, path):
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    files.write(link, sample())
    assert link.is_symlink() and path.is_file()


# Refusals.


def damage(path, *, header=None, data=b"\0" * 12):
    """A file with this header (a dict, or bytes) before 12 bytes of tensors."""
    if header is None:
        header = {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(3,), offsets=(0, 12)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (None, b"\0" * 11, "cut short (11 of 12 bytes"),
        (None, b"\0" * 13, "1 bytes too many"),
        ({"x": entry(), "y": entry(offsets=(8, 20))}, b"\0" * 20, "y overlaps"),
        ({"x": entry(offsets=(4, 16))}, b"\0" * 16, "x does not follow"),
        ({"x": entry(shape=[4])}, b"\0" * 12, "12 bytes for shape [4]"),
        ({"x": entry(shape=[-3])}, b"\0" * 12, "bad numbers"),
        ({"x": entry(shape=[3.0])}, b"\0" * 12, "bad numbers"),
        ({"x": entry(shape=[True, 3])}, b"\0" * 12, "bad numbers"),
        ({"x": entry(shape=[2**70, 2**70])}, b"\0" * 12, "damaged header"),
        ({"x": entry(dtype="F8_E4M3", offsets=[0, 3])}, b"\0" * 3, "holds F8_E4M3"),
        ({"x": {"dtype": "F32"}}, b"", "damaged header"),
        ({"x": 5}, b"", "damaged header"),
        ({"x": entry(), "__metadata__": {"a": 1}}, b"\0" * 12, "__metadata__"),
        ({"x": entry(), "__metadata__": []}, b"\0" * 12, "__metadata__"),
        (b'{"x":{},"x":{}}', b"", "twice"),
        (b'{"x":', b"", "damaged header"),
        (b"{" + b"\xff" * 8 + b"}", b"", "damaged header"),
        (b'{"x":' + b"[" * 100_000, b"", "damaged header"),
        (b"[]", b"", "not a safetensors file"),
    ],
)
def test_damaged_files(path, header, data, words):
    with pytest.raises(FileError) as caught:
        files.read(damage(path, header=header, data=data))
    assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"abc", "not a safetensors file"),
        (b"<!doctype html><html>sign in</html>", "web page"),
        (b"PK\x03\x04 zip", "PyTorch"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"RIFF....WAVEfmt ", "audio"),
        ((10**12).to_bytes(8, "little") + b"{" + b" " * 50, "not a safetensors file"),
        ((5000).to_bytes(8, "little") + b'{"x": 1', "cut short (within its header)"),
    ],
)
def test_what_is_no_safetensors_file(path, content, words):
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        files.read(path)
    assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    for path, words in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        with pytest.raises(FileError, match=words):
            files.read(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_causes_anything_but_a_file_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    files.write(path, {"a": np.arange(5, dtype=np.int8), "b": np.ones((2, 3))}, {"k": "v"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        tensors, _ = files.read(path)
    except FileError as error:
        assert str(path) in str(error)
    else:
        assert sum(x.nbytes for x in tensors.values()) <= len(content)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    files.write(path, sample())
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(FileError, match="cannot be written"):
        files.write(path, {"x": np.ones(3)})
    monkeypatch.undo()
    assert_equal(files.read(path)[0], sample())
    assert os.listdir(path.parent) == [path.name]


def test_unwritable_places_and_types(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none" / "x", tmp_path / "file" / "x"):
        with pytest.raises(FileError, match="cannot be written"):
            files.write(path, {})
    with pytest.raises(FileError, match="x holds complex64"):
        files.write(tmp_path / "x", {"x": np.ones(3, np.complex64)})


def test_checksum_sees_every_byte():
    tensors = {"a": np.arange(13, dtype=np.uint8), "b": np.ones((3, 3), np.float32)}
    right = files.checksum(tensors)
    for name, x in tensors.items():
        for at in range(x.nbytes):
            changed = x.copy()
            changed.reshape(-1).view(np.uint8)[at] ^= 0x10
            assert files.checksum(tensors | {name: changed}) != right
    assert files.checksum(dict(reversed(tensors.items()))) == right
