import signal
import sys

from ptts_jax.bench.command import main


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt  # `kill` leaves what was measured too


signal.signal(signal.SIGTERM, _terminated)
sys.exit(main(sys.argv))
