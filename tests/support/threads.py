"""The same work in several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def at_once(work: Callable[[int], object], count: int) -> None:
    """Runs `work(0)`, `work(1)`, ... side by side, to the end of all; what one raises is raised."""
    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(work, range(count)):
            pass
