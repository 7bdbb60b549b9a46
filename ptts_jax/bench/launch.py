"""Run as a plain script: starts a command on some cores, waits, and prints what it took as JSON.

A process of its own since the kernel counts into a child's peak memory what its parent held when it
was forked. Imports next to nothing for the same reason.
"""

import json
import os
import sys
import time


def main(cores: str, *command: str) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    quiet = [(os.POSIX_SPAWN_DUP2, 2, 1)]  # our own output is the figures alone
    start = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    took = time.monotonic() - start
    unit = 1 if sys.platform == "darwin" else 1024
    code = os.waitstatus_to_exitcode(status)
    print(json.dumps({"seconds": took, "peak_bytes": usage.ru_maxrss * unit, "code": code}))


if __name__ == "__main__":
    main(*sys.argv[1:])
