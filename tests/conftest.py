"""Tests named *_live.py compare with the reference and run with --live; others need no torch."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--live", action="store_true", help="also compare with the reference (extra `oracle`)"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.name.endswith("_live.py") and not config.getoption("--live"):
        return True
    return None
