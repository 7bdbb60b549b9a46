"""Files of a fake hub, and how a failure to fetch them must look."""

from pathlib import Path

import pytest

from ptts_jax.store.hub import HubError, fetch_first

BIG = bytes(range(256)) * 4000  # 1 MB: stored as large files are
OTHER = BIG[::-1]
PIN = "0123456789abcdef0123456789abcdef01234567"
MODEL = f"hf://kyutai/model/deep/model.safetensors@{PIN}"
LATEST = "hf://kyutai/model/voice.bin"
SOON = 20.0  # seconds: far above what giving up may take, far below what the client's own takes


def failure(*sources: str) -> HubError:
    """The error of fetching these, after a look at what every error must be."""
    with pytest.raises(HubError) as caught:
        fetch_first(sources)
    text = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in text and len(text) < 700
    assert all(source in text for source in sources)
    return caught.value


def parts(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.suffix in (".incomplete", ".part")]
