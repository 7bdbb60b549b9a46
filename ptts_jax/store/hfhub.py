"""Files of a model hub: `hf://owner/repo/path@revision` in huggingface_hub's own cache and layout.

The cache is shared with other programs; the bytes come through `download`, because a transfer that
was cut or killed must be continued. Knows nothing of other kinds of sources and of fallbacks.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ptts_jax.store.download import HubError, contact, contact_timeout, meter, pull
from ptts_jax.store.paths import remember


def parse(source: str) -> tuple[str, str, str]:
    """`hf://owner/repo/path@revision` -> (repo, path, revision)."""
    body, at, revision = source.removeprefix("hf://").partition("@")
    parts = body.split("/")
    fine = all(part not in ("", ".", "..") and "\\" not in part for part in parts)
    named = re.fullmatch(r"(?!/)(?!.*\.\.)[\w./+-]+", revision) or not at
    if len(parts) < 3 or not fine or not named:
        raise HubError(source, "write it as hf://owner/repo/path@revision", "source")
    return "/".join(parts[:2]), "/".join(parts[2:]), revision or "main"


def endpoint() -> str:
    """The hub's address; read at call time, where the client library reads it once."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def location(source: str, commit: str | None = None) -> str:
    """The address that a source's bytes come from."""
    if not source.startswith("hf://"):
        return source
    repo, path, revision = parse(source)
    revision = quote(commit or revision, safe="")
    return f"{endpoint()}/{repo}/resolve/{revision}/{quote(path)}"


def pinned(revision: str) -> bool:
    """Whether a revision is a commit, whose files never change."""
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def _repo_folder(repo: str) -> Path:
    """A repository's folder in huggingface_hub's cache, by its documented variables."""
    env = os.environ.get
    folder = env("HF_HUB_CACHE") or env("HUGGINGFACE_HUB_CACHE")
    home = env("HF_HOME") or os.path.join(env("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    root = Path(os.path.expandvars(folder or os.path.join(home, "hub"))).expanduser()
    return root / f"models--{repo.replace('/', '--')}"


def local_copy(repo: str, path: str, revision: str) -> Path | None:
    """The file in the cache, for a branch the one seen last."""
    folder = _repo_folder(repo)
    if not pinned(revision):
        ref = folder / "refs" / revision
        if not ref.is_file():
            return None
        revision = ref.read_text().strip()
    file = folder / "snapshots" / revision / path
    return file if file.is_file() else None


def download(source: str, quiet: bool) -> Path:
    """The file of that revision as the hub has it now. Raises the client library's exceptions."""
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    repo, path, revision = parse(source)
    headers = build_hf_headers(library_name="ptts_jax")
    try:
        meta = _metadata(source, headers)
    except Exception as error:
        # A stale token spoils public files too: those must not need one.
        refused = getattr(getattr(error, "response", None), "status_code", None) == 401
        if not refused or headers.pop("authorization", None) is None:
            raise
        meta = _metadata(source, headers)
    commit, etag = meta.commit_hash or "", meta.etag or ""
    if not re.fullmatch(r"\w+", commit) or not re.fullmatch(r"[\w-]+", etag):
        words = "the answer is not a model hub's; check HF_ENDPOINT and the network's login page"
        raise HubError(source, words, "unreachable")
    folder = _repo_folder(repo)
    blob, file = folder / "blobs" / etag, folder / "snapshots" / commit / path
    if not file.is_file():
        lock = folder.parent / ".locks" / folder.name / f"{etag}.lock"
        for parent in (blob.parent, file.parent, lock.parent):
            parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not blob.is_file():
                # Named by what it must become, so whatever is there may be continued.
                part = blob.with_name(f"{etag}.ptts_jax.incomplete")
                with meter(file.name, meta.size, quiet=quiet) as progress:
                    pull(location(source, commit), part, meta.size, progress, headers=headers)
                _check(part, etag, source)
                os.replace(part, blob)
            _link(blob, file)
    if revision != commit:
        remember(folder / "refs" / revision, commit)
    return file


def _metadata(source: str, headers: dict[str, str]) -> Any:
    """Commit, ETag and size of a file of the hub; the first contact."""
    from huggingface_hub import get_hf_file_metadata

    seconds = contact_timeout()

    def ask() -> Any:
        return get_hf_file_metadata(
            location(source), token=False, timeout=seconds, headers=headers, endpoint=endpoint()
        )

    return contact(ask, seconds)


def _check(part: Path, etag: str, source: str) -> None:
    """The hub names large files by their SHA-256."""
    if not re.fullmatch("[0-9a-f]{64}", etag):
        return
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != etag:
        part.unlink()
        raise HubError(source, "it arrived damaged and was thrown away; run again", "cut")


def _link(blob: Path, file: Path) -> None:
    """The file of a snapshot is a relative link to its blob, or the blob where links cannot be."""
    link = file.with_name(f".{secrets.token_hex(8)}")
    try:
        os.symlink(os.path.relpath(blob, file.parent), link)
        os.replace(link, file)
    except OSError:
        link.unlink(missing_ok=True)
        os.replace(blob, file)


def logged_in() -> bool:
    """Whether a token of the hub is set up, told without importing its library."""
    env = os.environ.get
    home = env("HF_HOME") or os.path.join(env("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    file = Path(env("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()
    return bool(env("HF_TOKEN") or env("HUGGING_FACE_HUB_TOKEN")) or file.is_file()


@contextmanager
def hushed() -> Iterator[None]:
    """The client's library prints no warnings meanwhile: what matters is in our errors.

    Where a program has set up logging of its own, they still reach that.
    """
    import huggingface_hub.utils.logging  # noqa: F401 -- sets up the handlers

    def silent(record: logging.LogRecord) -> bool:
        return False

    handlers = list(logging.getLogger("huggingface_hub").handlers)
    for handler in handlers:
        handler.addFilter(silent)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(silent)
