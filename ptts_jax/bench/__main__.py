"""python -m ptts_jax.bench [KIND] ...: a measurement by its name; speed without one."""

import sys
from importlib import import_module

from ptts_jax import command

KINDS = ("bulk", "int8", "scan", "serve", "text")


def main(argv: list[str]) -> int:
    kind = argv[1] if argv[1:2] and argv[1] in KINDS else None
    rest = argv if kind is None else argv[1:]
    return import_module(f"ptts_jax.bench.{kind or 'speed'}.command").main(rest)


if __name__ == "__main__":
    sys.argv[0] = "bench"
    command.start(main)
