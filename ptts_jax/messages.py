"""Lines for whoever runs a command: on standard error, or nowhere where that is closed."""

import contextlib
import sys


def say(line: str, end: str = "\n") -> None:
    """One line on standard error. That nobody can read it is no error."""
    if sys.stderr is not None:  # print(file=None) would write to standard output
        with contextlib.suppress(OSError):
            print(line, end=end, file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Whether standard error is a terminal, where a line may be overwritten by the next."""
    return sys.stderr is not None and sys.stderr.isatty()
