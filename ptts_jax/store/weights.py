"""Parameters from the checkpoints that a config names, converted (and, if wanted, quantised) once
and kept.

What converts is the package `convert`; how a name becomes a local file is the caller's `fetch`.
Arrays are memory-mapped and handed to the device without a copy where it takes them so.
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from convert import ConvertError, flatten, from_reference, raw, unflatten
from int8.store import pack, unpack
from ptts_jax.messages import say
from ptts_jax.model.config import Config
from ptts_jax.model.pytree import Params
from ptts_jax.store import bfloat16, quantization, safetensors
from ptts_jax.store.quantization import Int8
from ptts_jax.store.safetensors import FileError

Fetch = Callable[..., tuple[Path, int]]  # (sources, *, quiet) -> (file, index of the source)

FORMAT = "2"  # of the converted copies; another layout of the parameters is another number
QUANTISED = "2"  # of the quantised ones: what is kept in how many bits
_SAMPLES = 64  # places at which an unnamed source is looked at


@dataclass(frozen=True)
class Loaded:
    params: Params
    has_voice_cloning: bool


def init(key: jax.Array, config: Config) -> Params:
    """Fresh parameters of a whole model."""
    from ptts_jax.model import codec, lm  # Flax, which takes a while to import

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
    device: jax.Device | None = None,
) -> Loaded:
    """The parameters that a config names; a converted copy is kept in `cache_dir`."""
    sources, public = _fetch(config, fetch, quiet)
    folder, key = cache_dir / "weights", _key(config, sources)
    converted = folder / f"{key}.safetensors"
    cached = converted if int8 is None else folder / f"{key}-{int8.label}-{QUANTISED}.safetensors"
    copy = _read_cached(cached)
    if copy is None:
        if not quiet:
            work = "converting" if int8 is None else "quantising"
            say(f"{work} the weights, once for this model ...")
        copy = _write_and_read(cached, partial(_make, config, sources, converted, int8))
    tree, encoder = copy
    if int8 is not None:  # says again what stays float; what is quantised is left alone
        tree = quantized(tree, int8, "", quiet)
    return Loaded(bfloat16.placed(tree, device), encoder and not public)


def _write_and_read(cached: Path, make: Callable[[], Params]) -> tuple[Params, bool]:
    """What `make` gives and whether its encoder works; read from its copy where one can be kept."""
    tree = make()
    if _write_cached(cached, tree):
        del tree  # room for its copy, which, mapped, stands where a device takes it
        if copy := _read_cached(cached):
            return copy
        tree = make()
    return tree, _encodes(tree)


def _make(config: Config, sources: dict[str, Path], converted: Path, int8: Int8 | None) -> Params:
    if int8 is None:
        return _convert(config, sources)
    copy = _read_cached(converted)  # used where there is one; none is made for this
    tree = copy[0] if copy else _convert(config, sources)
    return quantized(tree, int8, " and ".join(map(str, sources.values())), quiet=True)


def quantized(tree: Params, int8: Int8, origin: str, quiet: bool) -> Params:
    """Parameters with the chosen weights in int8; `origin` is what errors call them."""
    try:
        tree, report = quantization.apply(tree, int8)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    if report.left and not quiet:
        say(f"int8: {report}")
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
    opened = {role: safetensors.read(path)[0] for role, path in sources.items()}
    try:
        tensors, _ = raw.combine(opened.get("bundle"), opened.get("lm"), opened.get("codec"))
        return bfloat16.narrowed(from_reference(tensors, template(config)))
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
    text = repr((FORMAT, architecture, sorted(identities.items())))
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
        tensors, metadata = safetensors.read(path)
    except FileError:
        return None
    if metadata.get("checksum") != safetensors.checksum(tensors):
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
        "checksum": safetensors.checksum(tensors),
        "encoder": "yes" if _encodes(tree) else "no",
        "int8": note,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        safetensors.write(path, tensors, metadata)
    except (OSError, FileError):
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed while writing."""
    for part in (*folder.glob(".*.part"), *folder.glob(".*.safetensors")):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()
