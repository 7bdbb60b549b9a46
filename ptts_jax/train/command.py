"""What all training commands share: flags in, one line of error out."""

import sys
from collections.abc import Callable

from absl import flags

from ptts_jax.train import memory


def main(
    usage: str,
    define: Callable[[flags.FlagValues], None],
    run: Callable[[flags.FlagValues], None],
    argv: list[str],
) -> int:
    """Parse `argv` with the flags that `define` adds and run; the exit status."""
    options = flags.FlagValues()
    define(options)
    if "--help" in argv[1:] or "-h" in argv[1:]:
        print(usage + "\n" + options.get_help())
        return 0
    memory.keep()
    try:
        if words := options(argv)[1:]:
            raise ValueError(f"{words[0]}: only flags are understood (see --help)")
        run(options)
    except flags.Error as error:
        return fail(f"{' '.join(str(error).split())} (see --help)")
    except (ValueError, OSError) as error:
        return fail(str(error))
    except KeyboardInterrupt as error:
        return fail(str(error) or "interrupted", code=130)
    return 0


def fail(message: str, code: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
