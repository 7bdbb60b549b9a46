"""Errors as OpenAI's clients know them: {"error": {message, type, param, code}}."""

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_log = logging.getLogger(__name__)

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class ApiError(Exception):
    """What a client did wrong, or what the server cannot do now."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }

    @property
    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body is larger than {limit} bytes", code="body_too_large")


def too_many(seconds: int) -> ApiError:
    words = f"too many requests are waiting; try again in {seconds} s"
    return ApiError(429, words, code="rate_limit_exceeded", headers={"retry-after": str(seconds)})


async def on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response


async def on_http_error(request: Request, error: Exception) -> Response:
    """Of Starlette itself: no such path, no such method."""
    assert isinstance(error, HTTPException)
    words = f"{request.method} {request.url.path}: {error.detail.lower()}"
    return ApiError(error.status_code, words, headers=dict(error.headers or {})).response


async def on_gone(request: Request, error: Exception) -> Response:
    """The client left before its request was here: nobody reads the answer."""
    return ApiError(400, "the request broke off").response


async def on_failure(request: Request, error: Exception) -> Response:
    """What nobody foresaw: the log has it, the client does not."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return ApiError(500, "the server failed; its log says why", code="internal_error").response
