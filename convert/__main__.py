"""`python -m convert SRC DST`: one self-contained file of any model, or the reference's layout.

The only part of this package that knows ptts_jax: it loads the model as every command does.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from convert import flatten, to_reference
from ptts_jax import command
from ptts_jax.messages import say
from ptts_jax.store import safetensors
from ptts_jax.store.safetensors import FileError
from ptts_jax.store.targets import check_sources, check_target, named_files

if TYPE_CHECKING:
    import ptts_jax

_TOKENIZER_SUFFIX = {"sentencepiece": ".model", "tokenizers": ".json"}


USAGE = """Write a model as one self-contained file: python -m convert [FLAGS] SRC DST

SRC is a released model's name, a YAML path or URL, or a converted file; DST is the .safetensors
file to write, which `load` and --model accept.
"""


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    about = "write the reference's layout instead: weights, and a YAML file and tokenizer beside"
    add.switch("to_reference", False, about)


def main(argv: list[str]) -> int:
    return command.main(USAGE, _define, _run, argv, words=2)


def _run(options: flags.FlagValues, words: list[str]) -> None:
    src, dst, back = words[0], Path(words[1]), options.to_reference
    check_target(dst)
    targets = [dst, *(dst.with_suffix(s) for s in (".yaml", ".model", ".json") if back)]
    check_sources(targets, [src])
    import ptts_jax
    from ptts_jax.store import converted

    say(f"reading {src} ...")
    tts = ptts_jax.load(src, quiet=False)
    check_sources(targets, named_files(tts.config))
    if back:
        _check_whole(tts, src)
    say(f"writing {dst} ...")
    if back:
        _write_reference(tts, dst)
    else:
        converted.save(dst, converted.of(tts))
    say(f"{dst}: {dst.stat().st_size / 1e6:.1f} MB")


def _check_whole(tts: "ptts_jax.TTS", src: str) -> None:
    """The reference's layout holds float weights only, all of them, and those of SEANets."""
    from int8 import QTensor

    if tts.config.mimi.vocoder:
        raise FileError(
            f"{src}: its codec speaks by a vocoder, which the reference has not: such a model has "
            "no form in the reference's layout"
        )
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
    config = dataclasses.replace(
        config,
        weights_path=str(dst),
        weights_path_without_voice_cloning=None,
        flow_lm=dataclasses.replace(config.flow_lm, weights_path=None, lookup_table=table),
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
