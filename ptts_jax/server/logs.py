"""What the server logs: plain lines, or a JSON object in each line. Never text or audio."""

import json
import logging
import time
import traceback
from typing import Any

FORMATS = ("plain", "json")
PLAIN = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Json(logging.Formatter):
    """A record as an object; what a record has as `fields` stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        shown = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown)

    def formatException(self, ei: Any) -> str:
        return _frames(ei[1])


class Plain(logging.Formatter):
    """A record as a line, and the lines of an error."""

    def __init__(self) -> None:
        super().__init__(PLAIN)

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another formatter's
        return super().format(record)

    def formatException(self, ei: Any) -> str:
        return _frames(ei[1])


def _frames(error: BaseException | None) -> str:
    """Where an error came from and of what kind it is. Its words may be those of a client."""
    lines: list[str] = []
    while error is not None:
        before = error.__cause__ or error.__context__
        lines[:0] = [*traceback.format_tb(error.__traceback__), f"{type(error).__name__}\n"]
        error = before
    return "".join(lines).rstrip()


def start(level: str, kind: str) -> None:
    """Logs to standard error from a level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if kind == "json" else Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    quiet()


def quiet() -> None:
    """Silences what talks too much, and what would show characters of a text."""
    for name, least in (("jax", "WARNING"), ("ptts_jax.text", "ERROR")):
        logging.getLogger(name).setLevel(least)
