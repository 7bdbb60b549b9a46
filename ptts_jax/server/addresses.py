"""Files from addresses that a client gives: only https, only to public hosts, bounded.

The address that was checked is the one that is connected to, so that a name which resolves anew
cannot lead elsewhere; each redirect is checked again.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urljoin, urlsplit

REDIRECTS = 3
CONTACT_SECONDS = 5.0  # for each answer
TOTAL_SECONDS = 20.0

Resolve = Callable[[str, int], list[str]]
Connect = Callable[[str, str, int], http.client.HTTPConnection]


def fetch(address: str, most_bytes: int, resolve: Resolve = None, connect: Connect = None) -> bytes:
    """The bytes behind an address. Raises ValueError.

    `resolve` gives the IP addresses of a host, `connect` a connection (host, ip, port).
    """
    resolve, connect = resolve or _resolve, connect or _Pinned
    ends = time.monotonic() + TOTAL_SECONDS
    for _ in range(REDIRECTS + 1):
        parts = _checked(address)
        host, port = parts.hostname or "", parts.port or 443
        connection = connect(host, _public(host, resolve(host, port)), port)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers={"User-Agent": "ptts_jax"})
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                address = urljoin(address, answer.headers.get("Location", ""))
                continue
            if answer.status != 200:
                raise ValueError(f"the voice's address answered with status {answer.status}")
            return _body(answer, most_bytes, ends)
        except (OSError, http.client.HTTPException):
            raise ValueError("the voice's address cannot be read") from None
        finally:
            connection.close()
    raise ValueError("the voice's address redirects too often")


def _checked(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise ValueError("the voice's address is not a valid one") from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ValueError("a voice's address begins with https:// and has no user in it")
    return parts


def _public(host: str, found: list[str]) -> str:
    """The first IP address of a host, all of which must be public."""
    for text in found:
        ip = ipaddress.ip_address(text)
        mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
        for each in (ip, mapped) if mapped else (ip,):
            if not each.is_global or each.is_multicast:
                raise ValueError("the voice's address leads into a private network")
    if not found:
        raise ValueError("the voice's address has no host")
    return found[0]


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError("the host of the voice's address is not known") from None
    return [str(entry[4][0]) for entry in found]


class _Pinned(http.client.HTTPSConnection):
    """To one IP address, with the host's own certificate."""

    def __init__(self, host: str, ip: str, port: int) -> None:
        super().__init__(host, port, timeout=CONTACT_SECONDS)
        self._ip = ip

    def connect(self) -> None:
        plain = socket.create_connection((self._ip, self.port), CONTACT_SECONDS)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def _body(answer: http.client.HTTPResponse, most_bytes: int, ends: float) -> bytes:
    body = bytearray()
    while part := answer.read1(1 << 16):
        body += part
        if len(body) > most_bytes:
            raise ValueError(f"the voice's address gives more than {most_bytes} bytes")
        if time.monotonic() > ends:
            raise ValueError(f"the voice's address took more than {TOTAL_SECONDS:.0f} s")
    return bytes(body)
