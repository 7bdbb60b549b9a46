"""What all training commands share: they take flags alone, and keep the memory that they free."""

from collections.abc import Callable

from absl import flags

from ptts_jax import command
from ptts_jax.command import definers, print_lines, start  # noqa: F401 -- for the commands
from ptts_jax.engine import startup


def main(
    usage: str,
    define: Callable[[flags.FlagValues], None],
    run: Callable[[flags.FlagValues], int | None],
    argv: list[str],
) -> int:
    """Parse `argv` with the flags that `define` adds and run; the exit status."""

    def work(options: flags.FlagValues, _: list[str]) -> int | None:
        startup.keep_freed_memory()
        startup.use_compilation_cache()
        return run(options)

    return command.main(usage, define, work, argv)
