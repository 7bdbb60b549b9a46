"""Parameters from files: the checkpoints that a config names, converted (and, if wanted, quantised)
once and kept, and our own self-contained files.

What converts is the package `convert`; how a name becomes a local file is the caller's `fetch`.
Arrays are memory-mapped and handed to the device without a copy where it takes them so.
"""

import contextlib
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from convert import ConvertError, FileError, files, flatten, from_reference, raw, unflatten
from int8 import QTensor, dequantize
from int8.store import pack, unpack
from ptts_jax import codec, halves, lm, quantization
from ptts_jax.config import Config, parse, to_yaml
from ptts_jax.quantization import Int8

Params = dict[str, Any]
Fetch = Callable[..., tuple[Path, int]]  # (sources, *, quiet) -> (file, index of the source)

FORMAT = "1"  # of the files written here; another layout of the parameters is another number
KEPT_FORMAT = "2"  # the same of the converted copies
_SAMPLES = 64  # places at which an unnamed source is looked at


@dataclass(frozen=True)
class Loaded:
    params: Params
    has_voice_cloning: bool


@dataclass(frozen=True)
class Converted:
    """All that a self-contained file holds."""

    name: str
    config: Config
    params: Params
    tokenizer: tuple[str, bytes]  # kind and payload, as text.Tokenizer.serialized
    voice_cloning: bool


def init(key: jax.Array, config: Config) -> Params:
    """Fresh parameters of a whole model."""
    c = config.mimi
    keys = jax.random.split(key, 3)
    latents, wave = jnp.zeros((1, 1, c.latent_dim)), jnp.zeros((1, c.frame_size))
    decoder = codec.Decoder(c).init(keys[1], latents, codec.decoder_state(c, 1))
    encoder = codec.Encoder(c).init(keys[2], wave, codec.encoder_state(c, 1))
    return {
        "lm": lm.init(keys[0], config.flow_lm, c.latent_dim, c.voice_dim),
        "codec": {"decoder": decoder["params"], "encoder": encoder["params"]},
    }


def template(config: Config) -> dict[str, Any]:
    """The shape of every parameter, without making any."""
    shapes = jax.eval_shape(lambda key: init(key, config), jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf.shape, shapes)


def load(
    config: Config,
    fetch: Fetch,
    *,
    cache_dir: Path,
    quiet: bool = False,
    int8: Int8 | None = None,
) -> Loaded:
    """The parameters that a config names; a converted copy is kept in `cache_dir`."""
    sources, public = _fetch(config, fetch, quiet)
    folder, key = cache_dir / "weights", _key(config, sources)
    converted = folder / f"{key}.safetensors"
    cached = converted if int8 is None else folder / f"{key}-{int8.label}.safetensors"
    found = _read_cached(cached)
    if found is None:
        if not quiet:
            work = "converting" if int8 is None else "quantising"
            print(f"{work} the weights, once for this model ...", file=sys.stderr)
        found = _made(cached, partial(_make, config, sources, converted, int8))
    tree, encoder = found
    if int8 is not None:  # says again what stays float; what is quantised is left alone
        tree = _quantized(tree, int8, "", quiet)
    return Loaded(jax.device_put(halves.placed(tree)), encoder and not public)


def _made(cached: Path, make: Callable[[], Params]) -> tuple[Params, bool]:
    tree = make()
    if _write_cached(cached, tree):
        del tree  # room for its copy, which, mapped, stands where a device takes it
        if found := _read_cached(cached):
            return found
        tree = make()
    return tree, _encodes(tree)


def _make(config: Config, sources: dict[str, Path], converted: Path, int8: Int8 | None) -> Params:
    if int8 is None:
        return _convert(config, sources)
    kept = _read_cached(converted)  # used where there is one; none is made for this
    tree = kept[0] if kept else _convert(config, sources)
    return _quantized(tree, int8, " and ".join(map(str, sources.values())), quiet=True)


def _quantized(tree: Params, int8: Int8, origin: str, quiet: bool) -> Params:
    try:
        tree, report = quantization.apply(tree, int8)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    if report.left and not quiet:
        print(f"int8: {report}", file=sys.stderr)
    return tree


def _fetch(config: Config, fetch: Fetch, quiet: bool) -> tuple[dict[str, Path], bool]:
    """Local files by role (bundle, lm, codec), and whether they are the public weights."""
    bundles = [config.weights_path, config.weights_path_without_voice_cloning]
    of_lm, of_codec = config.flow_lm.weights_path, config.mimi.weights_path
    if of_lm is not None and of_codec is None:
        raise ValueError(
            "config: flow_lm.weights_path needs mimi.weights_path beside it; give both"
        )
    sources: dict[str, Path] = {}
    public = False
    if config.weights_path is None and of_lm is not None:
        sources["lm"] = fetch([of_lm], quiet=quiet)[0]
    elif any(bundles):
        names = [name for name in bundles if name is not None]
        sources["bundle"], index = fetch(names, quiet=quiet)
        public = names[index] == config.weights_path_without_voice_cloning
    else:
        raise ValueError("config: it names no weights; give weights_path")
    if of_codec is not None:
        sources["codec"] = fetch([of_codec], quiet=quiet)[0]
    return sources, public


def _convert(config: Config, sources: dict[str, Path]) -> Params:
    opened = {role: files.read(path)[0] for role, path in sources.items()}
    try:
        tensors, _ = raw.combine(opened.get("bundle"), opened.get("lm"), opened.get("codec"))
        return halves.narrowed(from_reference(tensors, template(config)))
    except ConvertError as error:
        origin = " and ".join(str(path) for path in sources.values())
        raise ConvertError(list(error.problems), origin) from None


def _encodes(tree: Params) -> bool:
    """Whether the encoder listens at all; in the public weights it is zeros."""
    encoder = tree["codec"]["encoder"]
    heard = (np.any(leaf) for leaf in flatten(encoder["seanet"]).values())
    return any(heard) and bool(np.any(encoder["downsample"]["w"]))


# The converted copy.


def _key(config: Config, sources: dict[str, Path]) -> str:
    """Names a conversion by all that it depends on."""
    lm_config, mimi = config.flow_lm, config.mimi
    architecture = (
        replace(
            lm_config,
            weights_path=None,
            lookup_table=replace(lm_config.lookup_table, tokenizer="", tokenizer_path=""),
        ),
        replace(mimi, weights_path=None),
    )
    identities = {role: _identity(path) for role, path in sources.items()}
    text = repr((KEPT_FORMAT, architecture, sorted(identities.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _identity(path: Path) -> str:
    """What tells the content of a file from any other, without reading all of it.

    Files of the hub's cache are named by their hash. Of others, size, time and samples all over
    the file are taken: weights of another training step differ everywhere.
    """
    try:
        real = path.resolve(strict=True)
        stat = real.stat()
        if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", real.name):
            return f"{real.name} {stat.st_size}"
        digest = hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        with real.open("rb") as file:
            for i in range(_SAMPLES):
                file.seek(stat.st_size * i // _SAMPLES)
                digest.update(file.read(4096))
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"{path}: cannot be read ({reason}); check the path") from None
    return digest.hexdigest()


def _read_cached(path: Path) -> tuple[Params, bool] | None:
    """The converted copy and whether its encoder works, or None if it is absent or damaged."""
    try:
        tensors, metadata = files.read(path)
    except FileError:
        return None
    if metadata.get("checksum") != files.checksum(tensors):
        return None
    try:
        flat = unpack(tensors, metadata.get("int8", ""))
    except ValueError:
        return None
    return unflatten(flat), metadata.get("encoder") == "yes"


def _write_cached(path: Path, tree: Params) -> bool:
    """Keep a converted copy; False where that cannot be."""
    tensors, note = pack(flatten(tree))
    metadata = {
        "checksum": files.checksum(tensors),
        "encoder": "yes" if _encodes(tree) else "no",
        "int8": note,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        files.write(path, tensors, metadata)
    except (OSError, FileError):
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed while writing."""
    for left in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()


# Self-contained files.


def save_converted(
    path: str | Path,
    params: Params,
    config: Config,
    *,
    name: str,
    tokenizer: tuple[str, bytes],
    voice_cloning: bool,
    compact: bool = False,
) -> None:
    """Write one file that needs nothing beside it: parameters, config and tokenizer.

    `compact` rounds the attention and FFN weights to 8 bits, a scale per output channel, and other
    weights to 16: a fraction of the size, read back as float32. int8 finds those 8 bits again.
    """
    if compact:
        params = quantization.rounded(params)
    params = halves.narrowed(params)
    stored = _halved if compact else lambda leaf: leaf
    tensors, note = pack({f"params/{path}": stored(leaf) for path, leaf in flatten(params).items()})
    kind, payload = tokenizer
    metadata = {
        "ptts_jax": FORMAT,
        "name": name,
        "config": to_yaml(config),
        "tokenizer": kind,
        "voice_cloning": json.dumps(voice_cloning),
        "int8": note,
        "compact": json.dumps(compact),
        "structure": _structure(tensors, note),
    }
    files.write(path, {**tensors, "tokenizer": np.frombuffer(payload, np.uint8)}, metadata)


def load_converted(path: str | Path, *, int8: Int8 | None = None, quiet: bool = True) -> Converted:
    """Read a file of `save_converted`; `int8` quantises what of it is not yet so."""
    tensors, metadata = files.read(path)
    if "ptts_jax" not in metadata:
        raise FileError(
            f"{path}: not a converted model; make one with `python -m convert`, or give a YAML file"
        )
    if metadata["ptts_jax"] != FORMAT:
        raise FileError(
            f"{path}: written in format {metadata['ptts_jax']}, this version reads {FORMAT}; "
            "convert the model again"
        )
    payload = tensors.pop("tokenizer", np.zeros(0, np.uint8)).tobytes()
    note = metadata.get("int8", "{}")  # names the quantised weights
    try:
        flat = unpack(tensors, note)
    except ValueError as error:
        raise FileError(f"{path}: {error}; write it again with `python -m int8`") from None
    missing = {"name", "config", "tokenizer", "voice_cloning", "structure"} - metadata.keys()
    if missing or not payload or metadata["structure"] != _structure(tensors, note):
        raise FileError(f"{path}: parts of the model are missing or changed; convert it again")
    widened = _floats if metadata.get("compact") == "true" else _widened
    flat = {path.removeprefix("params/"): widened(leaf) for path, leaf in flat.items()}
    params = unflatten(flat)
    if int8 is not None:
        params = _quantized(params, int8, str(path), quiet)
    return Converted(
        name=metadata["name"],
        config=parse(metadata["config"], str(path)),
        params=jax.device_put(halves.placed(params)),
        tokenizer=(metadata["tokenizer"], payload),
        voice_cloning=metadata["voice_cloning"] == "true",
    )


def _halved(leaf: Any) -> Any:
    if isinstance(leaf, QTensor) or leaf.dtype != np.float32:
        return leaf
    with np.errstate(over="ignore"):
        half = np.asarray(leaf).astype(np.float16)
    return half if np.isfinite(half).all() else leaf


def _widened(leaf: Any) -> Any:
    half = isinstance(leaf, np.ndarray) and leaf.dtype == np.float16
    return leaf.astype(np.float32) if half else leaf


def _floats(leaf: Any) -> Any:
    return dequantize(leaf) if isinstance(leaf, QTensor) else _widened(leaf)


def _structure(tensors: dict[str, np.ndarray], note: str) -> str:
    """Names, types and shapes, as one short text."""
    rows = [f"{name} {x.dtype} {x.shape}" for name, x in sorted(tensors.items())]
    rows += [note] if note != "{}" else []
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:32]
