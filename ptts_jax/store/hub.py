"""Files by name: a path, `https://...` or `hf://owner/repo/path@revision` becomes a local path.

Decides what may come from the cache and what a failure leads to; model files are kept by `hfhub`,
plain URLs in the cache folder of this package. Knows nothing of models, nor of what the files hold.
Importing it is cheap and touches no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ptts_jax.store import hfhub
from ptts_jax.store.download import (
    BadStatus,
    HubError,
    contact_timeout,
    explain,
    meter,
    pull,
    stream,
    total_size,
)
from ptts_jax.store.paths import atomic_write, cache_dir, remember

__all__ = ["HubError", "atomic_write", "cache_dir", "cached", "fetch", "fetch_first"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
DENIED_FOR = 24 * 3600.0  # seconds for which a refusal without a login is remembered


def fetch(source: str | Path, *, quiet: bool = False) -> Path:
    """The local path of a source, downloaded if need be. Raises HubError.

    Where strangers name sources, as in a server, set PTTS_JAX_PRIVATE=0: then nothing is fetched
    from addresses of this machine or of its own network. Local paths are for the caller to refuse.
    """
    return _fetch(str(source), quiet, {})


def fetch_first(sources: Sequence[str | Path], *, quiet: bool = False) -> tuple[Path, int]:
    """The first source that can be had, and its index; any failure leads to the next.

    Meant for a gated repository with a public fallback. A host that does not answer is waited for
    once, and a refusal is not asked for again on every start: while nobody has logged in since,
    and a later source is cached, that one is taken without the network.
    """
    names = [str(source) for source in sources]
    failures: list[HubError] = []
    dead: dict[str, str] = {}
    for index, source in enumerate(names):
        later_is_cached = any(cached(later) for later in names[index + 1 :])
        if later_is_cached and cached(source) is None and _recently_denied(source):
            continue
        try:
            return _fetch(source, quiet, dead), index
        except HubError as error:
            failures.append(error)
    if not failures:
        raise ValueError("no source to fetch from")
    if len({failure.words for failure in failures}) == 1:
        words, last = failures[-1].words, failures[-1].reason
        raise HubError(" or ".join(names), words, last)
    words = "; nor ".join([failures[0].words, *(f"{f.source}: {f.words}" for f in failures[1:])])
    raise HubError(names[0], words, failures[-1].reason)


def cached(source: str | Path) -> Path | None:
    """The local copy of a source, however old; never touches the network."""
    source = _canonical(str(source))
    if source.startswith("hf://"):
        return hfhub.local_copy(*hfhub.parse(source))
    path = Path(source).expanduser()
    if "://" in source:
        path = _url_folder(source) / _url_name(source)
    return path if path.is_file() else None


def _fetch(source: str, quiet: bool, dead: dict[str, str]) -> Path:
    """`dead`: hosts that did not answer and the words for it, kept for the sources after this."""
    source = _canonical(source)
    if "://" not in source:
        return _local(source)
    of_hub = source.startswith("hf://")
    copy = cached(source)
    if of_hub and copy and hfhub.pinned(hfhub.parse(source)[2]):
        return copy
    host = urlsplit(hfhub.location(source)).netloc
    try:
        if _offline():
            raise HubError(source, "not in the cache, and HF_HUB_OFFLINE is set", "unreachable")
        if host in dead:
            raise HubError(source, dead[host], "unreachable")
        with hfhub.hushed():
            return hfhub.download(source, quiet) if of_hub else _from_url(source, quiet)
    except HubError as error:
        failure = error
    except Exception as error:
        failure = HubError(source, *explain(error, hfhub.location(source)))
        failure.__cause__ = error
    if failure.reason == "unreachable":
        dead[host] = failure.words
    if failure.reason == "access":
        _note_denial(source)
    if copy and failure.reason != "missing":
        return copy  # rather an older file than none
    raise failure


def _canonical(source: str) -> str:
    """The source as it is meant, refused where it cannot mean anything."""
    # An address copied from the hub's site.
    page = re.fullmatch(
        r"https://(?:huggingface\.co|hf\.co)/([^/]+/[^/]+)/(?:resolve|blob|raw)/([^/]+)/([^?#@]+)"
        r"(?:\?download=true)?",
        source,
    )
    if page:
        return f"hf://{page[1]}/{page[3]}@{page[2]}"
    if source.startswith("http://") and urlsplit(source).hostname not in LOOPBACK:
        raise HubError(source, "plain http is not safe; use https://", "source")
    if "://" in source and not re.match("(hf|https?)://", source):
        raise HubError(source, "use a path, https://... or hf://owner/repo/path", "source")
    return source


def _local(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        raise HubError(source, "it is a folder; name a file", "source")
    if not path.exists():
        raise HubError(source, "no such file; check the path", "missing")
    return path


# Plain URLs.


def _from_url(url: str, quiet: bool) -> Path:
    from huggingface_hub.utils import WeakFileLock

    # One byte is asked for: unlike HEAD, every server that can serve the file answers that.
    with stream(url, {"Range": "bytes=0-0"}, contact_timeout()) as response:
        if response.status_code not in (200, 206, 416):
            raise BadStatus(response.status_code)
        etag, modified = (response.headers.get(name) for name in ("ETag", "Last-Modified"))
        stamp = {"etag": etag, "modified": modified, "size": total_size(response)}
    folder = _url_folder(url)
    folder.mkdir(parents=True, exist_ok=True)
    file, stamp_file = folder / _url_name(url), folder / "stamp.json"
    with WeakFileLock(folder / "lock"):
        if file.is_file() and _read_json(stamp_file) == stamp:
            return file
        version = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:16]
        part = folder / f"{version}.part"
        validator = modified if (etag or "W/").startswith("W/") else etag
        if validator is None:  # nothing vouches that the rest would belong to what is there
            part.unlink(missing_ok=True)
        with meter(file.name, stamp["size"], quiet=quiet) as progress:
            pull(url, part, stamp["size"], progress, if_range=validator)
        os.replace(part, file)
        remember(stamp_file, json.dumps(stamp))
    return file


def _url_folder(url: str) -> Path:
    return cache_dir() / "files" / hashlib.sha256(url.encode()).hexdigest()[:32]


def _url_name(url: str) -> str:
    """The file's own name as far as it is harmless: its suffix tells readers the format."""
    name = re.sub(r"[^\w.-]", "_", urlsplit(url).path.rpartition("/")[2])
    return f"file-{name[-80:]}"


# What is remembered between calls.


def _denial(source: str) -> Path:
    return cache_dir() / "denied" / hashlib.sha256(hfhub.location(source).encode()).hexdigest()[:32]


def _note_denial(source: str) -> None:
    from huggingface_hub import get_token

    if get_token() is None:
        remember(_denial(source), str(time.time()))


def _recently_denied(source: str) -> bool:
    note = _read_json(_denial(source)) if not hfhub.logged_in() else None
    return isinstance(note, float) and 0 <= time.time() - note < DENIED_FOR


def _offline() -> bool:
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
