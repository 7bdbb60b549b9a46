"""`python -m int8 build`: the native kernels, ahead of their first use.
`python -m int8 report MODEL`: what quantising does to a model.
`python -m int8 SRC DST`: a quantised model as one self-contained file.

The only part of this package that knows ptts_jax: it loads the model as every command does.
"""

import argparse
import sys
from pathlib import Path

USAGE = """python -m int8 build
       python -m int8 report MODEL [...]
       python -m int8 SRC DST [--groups GROUPS] [--bits 8|4] [--group_size N] [--no_encoder]"""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["build"]:
            _build(arguments[1:])
        elif arguments[:1] == ["report"]:
            return _report(arguments[1:])
        else:
            _write(_parser().parse_args(arguments))
    except (ValueError, OSError) as error:
        print(f"int8: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("int8: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _build(arguments: list[str]) -> None:
    from int8.build import build

    parser = argparse.ArgumentParser(
        prog="python -m int8 build",
        description="Compile the native kernels into the cache, ahead of their first use.",
    )
    parser.parse_args(arguments)
    _say(f"native kernels: {build(verbose=True)}")


def _report(arguments: list[str]) -> int:
    from ptts_jax.int8_report.command import main

    return main(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m int8",
        usage=USAGE,
        description="Write a quantised model as one self-contained file that `load` and --model "
        "accept; compile the native kernels ahead of their first use (build); or measure what "
        "quantising does to a model (report).",
    )
    parser.add_argument(
        "src", help="a released model's name, a YAML path or URL, or a converted file"
    )
    parser.add_argument("dst", help="the .safetensors file to write")
    parser.add_argument(
        "--groups",
        default="attention,ffn",
        help="what to quantise: any of attention,ffn,flow,codec, or all (default: %(default)s)",
    )
    parser.add_argument("--bits", type=int, default=8, help="8 or 4 (default: %(default)s)")
    parser.add_argument(
        "--group_size", type=int, help="input channels that share a scale: 32, 64 or 128"
    )
    parser.add_argument(
        "--no_encoder",
        action="store_true",
        help="leave out what only cloning a voice from audio needs",
    )
    return parser


def _write(options: argparse.Namespace) -> None:
    from convert.targets import check_sources, check_target, named_files

    src, dst = options.src, Path(options.dst)
    check_target(dst)
    check_sources([dst], [src])
    import ptts_jax
    from ptts_jax import quantization, weights

    spec = quantization.parse(options.groups, options.bits, options.group_size)
    _say(f"reading {src} ...")
    tts = ptts_jax.load(src, int8=spec, quiet=False)
    check_sources([dst], named_files(tts.config))
    params, report = quantization.apply(tts.params, spec)  # already so: only for the report
    for name, reason in report.left:
        _say(f"stays float: {name}: {reason}")
    if not report.quantized:
        raise ValueError(f"{src}: no weight can be quantised so; choose another group size")
    codec, cloning = params["codec"], tts.voice_cloning
    if "encoder" in codec and (options.no_encoder or not cloning):
        if not options.no_encoder:
            _say("without the encoder: these weights cannot clone a voice")
        codec = {name: part for name, part in codec.items() if name != "encoder"}
        cloning = False
    _say(f"writing {dst} ...")
    weights.save_converted(
        dst,
        params | {"codec": codec},
        tts.config,
        name=tts.name,
        tokenizer=tts.tokenizer.serialized,
        voice_cloning=cloning,
    )
    _say(f"{dst}: {dst.stat().st_size / 1e6:.1f} MB, {len(report.quantized)} weights quantised")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
