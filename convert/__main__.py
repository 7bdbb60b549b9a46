"""`python -m convert SRC DST`: one self-contained file of any model, or the reference's layout.

The only part of this package that knows ptts_jax: it loads the model as every command does.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from convert import files, flatten, to_reference
from convert.files import FileError
from convert.targets import check_sources, check_target, named_files

if TYPE_CHECKING:
    import ptts_jax

_TOKENIZER_SUFFIX = {"sentencepiece": ".model", "tokenizers": ".json"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m convert",
        description="Write a model as one self-contained file that `load` and --model accept.",
    )
    parser.add_argument(
        "src", help="a released model's name, a YAML path or URL, or a converted file"
    )
    parser.add_argument("dst", help="the .safetensors file to write")
    parser.add_argument(
        "--to_reference",
        action="store_true",
        help="write the reference's layout instead: weights, and a YAML file and tokenizer beside",
    )
    options = parser.parse_args(arguments)
    try:
        _run(options.src, Path(options.dst), options.to_reference)
    except ValueError as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("convert: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _run(src: str, dst: Path, back: bool) -> None:
    check_target(dst)
    targets = [dst, *(dst.with_suffix(s) for s in (".yaml", ".model", ".json") if back)]
    check_sources(targets, [src])
    import ptts_jax
    from ptts_jax import weights

    _say(f"reading {src} ...")
    tts = ptts_jax.load(src, quiet=False)
    check_sources(targets, named_files(tts.config))
    if back:
        _check_whole(tts, src)
    _say(f"writing {dst} ...")
    if back:
        _write_reference(tts, dst)
    else:
        weights.save_converted(
            dst,
            tts.params,
            tts.config,
            name=tts.name,
            tokenizer=tts.tokenizer.serialized,
            voice_cloning=tts.voice_cloning,
        )
    _say(f"{dst}: {dst.stat().st_size / 1e6:.1f} MB")


def _check_whole(tts: "ptts_jax.TTS", src: str) -> None:
    """The reference's layout holds float weights only, and all of them."""
    from int8 import QTensor

    quantised = any(isinstance(leaf, QTensor) for leaf in flatten(tts.params).values())
    if quantised or "encoder" not in tts.params["codec"]:
        what = "is quantised" if quantised else "was written without its encoder"
        raise FileError(f"{src}: {what}; take the model it was made of")


def _write_reference(tts: "ptts_jax.TTS", dst: Path) -> None:
    """Weights, tokenizer and, last, the YAML file that names both by their full paths."""
    from ptts_jax.config import to_yaml
    from ptts_jax.files import atomic_write

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
    files.write(dst, to_reference(tts.params))
    for path, content in ((tokenizer, payload), (described, to_yaml(config).encode())):
        try:
            with atomic_write(path) as beside:
                beside.write_bytes(content)
        except OSError as error:
            raise FileError(f"{path}: cannot be written ({error.strerror})") from None


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
