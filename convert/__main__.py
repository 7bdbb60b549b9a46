"""`python -m convert SRC DST`: one self-contained file of any model, or the reference's layout.

The only part of this package that knows ptts_jax: it loads the model as every command does.
"""

import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from convert import flatten, gguf, phonon, to_reference, unflatten
from ptts_jax import command
from ptts_jax.messages import say
from ptts_jax.store import safetensors
from ptts_jax.store.safetensors import FileError
from ptts_jax.store.targets import check_sources, check_target, named_files

if TYPE_CHECKING:
    import ptts_jax

_TOKENIZER_SUFFIX = {"sentencepiece": ".model", "tokenizers": ".json"}


USAGE = """Write a model as one self-contained file: python -m convert [FLAGS] SRC DST

SRC is a released model's name, a YAML path or URL, a converted file, or the folder of a Phonon
checkpoint; DST is the .safetensors file to write, which `load` and --model accept. The voices of a
Phonon checkpoint go to a folder beside it, DST's name with -voices.
"""


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    about = "write the reference's layout instead: weights, and a YAML file and tokenizer beside"
    add.switch("to_reference", False, about)
    about = "a condition of a Phonon checkpoint, NAME=VALUE, for good (repeatable)"
    add.texts("condition", [], about)


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv, words=2)


def _run(options: flags.FlagValues, words: list[str]) -> None:
    src, dst, back = words[0], Path(words[1]), options.to_reference
    check_target(dst)
    if options.condition and not Path(src).is_dir():
        raise ValueError("--condition: only Phonon checkpoints have conditions; leave it out")
    targets = [dst, *(dst.with_suffix(s) for s in (".yaml", ".model", ".json") if back)]
    check_sources(targets, [src])
    import ptts_jax
    from ptts_jax.store import converted

    say(f"reading {src} ...")
    with contextlib.ExitStack() as stack:
        source = src
        if Path(src).is_dir():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ptts-convert-"))
            source = str(_as_reference(Path(src), Path(folder), options.condition))
        tts = ptts_jax.load(source, quiet=False)
        check_sources(targets, named_files(tts.config))
        if back:
            _check_whole(tts, src)
        say(f"writing {dst} ...")
        if back:
            _write_reference(tts, dst)
        else:
            converted.save(dst, converted.of(tts))
    say(f"{dst}: {dst.stat().st_size / 1e6:.1f} MB")
    if Path(src).is_dir():
        _write_voices(tts, Path(src), dst.with_name(f"{dst.stem}-voices"))


def _as_reference(checkpoint: Path, folder: Path, conditions: list[str]) -> Path:
    """A Phonon checkpoint in the reference's layout; its YAML file."""
    from ptts_jax.model import config as configs
    from ptts_jax.store import weights

    described, tokenizer = checkpoint / "config.json", checkpoint / "tokenizer.json"
    files = [*checkpoint.glob("model.safetensors"), *sorted(checkpoint.glob("*.gguf"))]
    if not (described.is_file() and tokenizer.is_file() and files):
        needed = "config.json, tokenizer.json and model.safetensors or a .gguf file"
        raise FileError(f"{checkpoint}: not a Phonon checkpoint, which has {needed}")
    read = gguf.read(files[0]) if files[0].suffix == ".gguf" else safetensors.read(files[0])[0]
    tensors = phonon.tensors(read)
    try:
        content = json.loads(described.read_text(encoding="utf-8"))
        plain = phonon.describe(content, tensors, str(tokenizer.resolve()))
    except ValueError as error:
        raise FileError(f"{described}: {error}") from None
    given = dict(condition.partition("=")[::2] for condition in conditions)
    try:
        tensors, chosen = phonon.conditioned(tensors, content, given)
    except ValueError as error:
        raise ValueError(f"--condition: {error}") from None
    if chosen:
        say(f"conditions: {', '.join(chosen)} (--condition chooses others)")
    yaml, target = folder / f"{checkpoint.resolve().name}.yaml", folder / "model.safetensors"
    yaml.write_text(json.dumps(plain | {"weights_path": str(target)}), encoding="utf-8")  # is YAML
    config = configs.parse(yaml.read_text(encoding="utf-8"), str(described))
    if content.get("speaker_mimi") or not phonon.encodes(tensors):
        say("no encoder of the kind that is known: it has its own voices, and clones none")
        shapes = flatten(weights.template(config)).items()
        unheard = ("codec/encoder/", "lm/speaker/")
        silent = {path: np.zeros(shape) for path, shape in shapes if path.startswith(unheard)}
        tensors = phonon.without_encoder(tensors) | to_reference(unflatten(silent))
    safetensors.write(target, tensors)
    return yaml


def _write_voices(tts: "ptts_jax.TTS", checkpoint: Path, folder: Path) -> None:
    """The checkpoint's voices, which are embeddings of prompts, as states that `voice` reads."""
    from ptts_jax.engine import voices

    places = ("voices/*.safetensors", "embeddings/*.safetensors", "default-voice.safetensors")
    for file in sorted(file for place in places for file in checkpoint.glob(place)):
        prompt = phonon.prompt(safetensors.read(file)[0], tts.config.flow_lm.transformer.d_model)
        if prompt is None:
            say(f"{file}: left out, since it is no embedding for this model")
            continue
        folder.mkdir(exist_ok=True)
        voices.from_embeddings(tts.params, tts.config, prompt).save(folder / file.name)
        say(f"voice -> {folder / file.name}")


def _check_whole(tts: "ptts_jax.TTS", src: str) -> None:
    """The reference's layout holds float weights only, all of them, and those of SEANets."""
    from int8 import QTensor

    if tts.config.mimi.vocoder:
        raise FileError(
            f"{src}: its codec speaks by a vocoder, which the reference has not: such a model has "
            "no form in the reference's layout"
        )
    if tts.config.flow_lm.input_bias:
        raise FileError(f"{src}: it has a condition, which the reference's layout has no place for")
    quantised = any(isinstance(leaf, QTensor) for leaf in flatten(tts.params).values())
    if quantised or "encoder" not in tts.params["codec"]:
        what = "is quantised" if quantised else "was written without its encoder"
        raise FileError(f"{src}: {what}; take the model it was made of")


def _write_reference(tts: "ptts_jax.TTS", dst: Path) -> None:
    """Weights, tokenizer and, last, the YAML file that names both by their full paths."""
    from ptts_jax.model.config import to_yaml
    from ptts_jax.store.paths import atomic_write

    dst = dst.resolve()
    kind, payload = tts.tokenizer.serialized
    tokenizer, described = dst.with_suffix(_TOKENIZER_SUFFIX[kind]), dst.with_suffix(".yaml")
    config = tts.config
    table = dataclasses.replace(
        config.flow_lm.lookup_table, tokenizer=kind, tokenizer_path=str(tokenizer)
    )
    flow = config.flow_lm.flow
    if flow.type == "plain":  # the reference knows it as this, which at temperature 0 is the same
        flow = dataclasses.replace(flow, type="drifting")
    config = dataclasses.replace(
        config,
        weights_path=str(dst),
        weights_path_without_voice_cloning=None,
        flow_lm=dataclasses.replace(
            config.flow_lm, flow=flow, weights_path=None, lookup_table=table
        ),
        mimi=dataclasses.replace(config.mimi, weights_path=None),
    )
    safetensors.write(dst, to_reference(tts.params))
    for path, content in ((tokenizer, payload), (described, to_yaml(config).encode())):
        try:
            with atomic_write(path) as part:
                part.write_bytes(content)
        except OSError as error:
            raise FileError(f"{path}: cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    command.start(main)
