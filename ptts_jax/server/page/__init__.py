"""The page at /: plain files beside this one, nothing from elsewhere.

They need no key, since they hold nothing; what the page then asks for does.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
FILES = {
    "/" if path.suffix == ".html" else f"/page/{path.name}": path
    for path in sorted(Path(__file__).parent.iterdir())
    if path.suffix in TYPES
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; media-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "permissions-policy": "microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


async def file(request: Request) -> Response:
    """One of the page's files."""
    path = FILES[request.url.path]
    return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers=HEADERS)
