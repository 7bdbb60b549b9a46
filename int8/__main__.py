"""`python -m int8 build`: the native kernels, ahead of their first use.
`python -m int8 report MODEL`: what quantising does to a model.
`python -m int8 SRC DST`: a quantised model as one self-contained file.

The only part of this package that knows ptts_jax: it loads the model as every command does.
"""

from pathlib import Path

from absl import flags

from ptts_jax import command
from ptts_jax.messages import say

USAGE = """Write a quantised model as one self-contained file: python -m int8 [FLAGS] SRC DST
Compile the native kernels ahead of their first use:   python -m int8 build
Say what quantising does to a model:                   python -m int8 report MODEL (see its --help)

SRC is a released model's name, a YAML path or URL, or a converted file; DST is the .safetensors
file to write, which `load` and --model accept.
"""


def main(argv: list[str]) -> int:
    name, *words = argv
    if words[:1] == ["report"]:
        from ptts_jax.bench.int8.command import main

        return main([name, *words[1:]])
    if words[:1] == ["build"]:
        return command.main(USAGE, lambda values: None, _build, [name, *words[1:]])
    return command.main(USAGE, _define, _write, argv, words=2)


def _build(options: flags.FlagValues, words: list[str]) -> None:
    from int8.runtime.build import build

    say(f"native kernels: {build(verbose=True)}")


def _define(values: flags.FlagValues) -> None:
    add = command.definers(values)
    add.text("groups", "attention,ffn", "what to quantise: any of attention,ffn,flow,codec, or all")
    add.whole("bits", 8, "8 or 4")
    about = "input channels that share a scale: 32, 64 or 128; all if not given"
    add.whole("group_size", None, about)
    about = "round with a view to what the language model says: a file of its texts, or english"
    add.text("calibrate", None, about)
    add.text("voice", None, "who says them; the model's own, or a synthetic hum, if not given")
    add.switch("no_encoder", False, "leave out what only cloning a voice from audio needs")


def _write(options: flags.FlagValues, words: list[str]) -> None:
    from ptts_jax.store.targets import check_sources, check_target, named_files

    src, dst = words[0], Path(words[1])
    check_target(dst)
    check_sources([dst], [src])
    import ptts_jax
    from ptts_jax.store import converted, quantization

    spec, grams = quantization.parse(options.groups, options.bits, options.group_size), None
    if options.voice and not options.calibrate:
        raise ValueError("--voice: only of use with --calibrate; give that too")
    if options.calibrate:
        from ptts_jax.bench.int8 import calibration

        tts, grams = calibration.listen(src, options.calibrate, options.voice)
    else:
        say(f"reading {src} ...")
        tts = ptts_jax.load(src, int8=spec, quiet=False)
    check_sources([dst], named_files(tts.config))
    # Without grams the weights are so already: this is for the report.
    params, report = quantization.apply(tts.params, spec, grams)
    for name, reason in report.left:
        say(f"stays float: {name}: {reason}")
    if not report.quantized:
        raise ValueError(f"{src}: no weight can be quantised so; choose another group size")
    codec, cloning = params["codec"], tts.voice_cloning
    if "encoder" in codec and (options.no_encoder or not cloning):
        if not options.no_encoder:
            say("without the encoder: these weights cannot clone a voice")
        codec = {name: part for name, part in codec.items() if name != "encoder"}
        cloning = False
    say(f"writing {dst} ...")
    changed = {"params": params | {"codec": codec}, "voice_cloning": cloning}
    converted.save(dst, converted.of(tts, **changed))
    say(f"{dst}: {dst.stat().st_size / 1e6:.1f} MB, {len(report.quantized)} weights quantised")


if __name__ == "__main__":
    command.start(main)
