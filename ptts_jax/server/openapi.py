"""The OpenAPI document at /openapi.json: the routes as they are, options from where they live."""

import inspect
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import ptts_jax
from ptts_jax.audio import loudness, stretch
from ptts_jax.engine.request import Options, kind
from ptts_jax.server import context, guard, page
from ptts_jax.server.context import OPTIONS, Context
from ptts_jax.server.formats import FORMATS
from ptts_jax.server.voices import NAME
from ptts_jax.text.normalize import LANGUAGES

Schema = dict[str, Any]

TEXT = {"type": "string"}
FILE = {"type": "string", "format": "binary"}
_READING: dict[str, Schema] = {  # how a text is read: text.reading.Manner
    "normalize": {
        "type": "boolean",
        "description": "say numbers and signs in words",
        "default": True,
    },
    "markup": {"type": "boolean", "description": "obey marks in the text, and SSML"},
    "language": {"enum": [*LANGUAGES], "description": "of the numbers; the model's if not given"},
    "lexicon": {
        "type": "object",
        "additionalProperties": TEXT,
        "description": "words and how they are to be said",
    },
    "speed": {
        "type": "number",
        "minimum": stretch.SLOWEST,
        "maximum": stretch.FASTEST,
        "default": 1,
        "description": "at the same pitch",
    },
    "loudness": {
        "type": "number",
        "minimum": loudness.QUIETEST,
        "maximum": loudness.LOUDEST,
        "description": "in LUFS, nearly; the first second of speech is waited for",
    },
}


def speech(server: Context) -> Schema:
    """The body of /v1/audio/speech. A null is as good as nothing; other fields are ignored."""
    optional: dict[str, Schema] = {
        "voice": {
            "anyOf": [TEXT, _object({"id": TEXT}, ["id"])],
            "description": "one of /v1/audio/voices or of OpenAI's; the model's own if not given",
        },
        "model": _MODEL,
        "response_format": {"enum": [*FORMATS], "default": "mp3"},
        "stream_format": {"enum": ["audio", "sse"], "default": "audio"},
        "timestamps": {
            "type": "boolean",
            "default": False,
            "description": "words and their times: among the events, or with the audio as JSON",
        },
        "check": {
            "type": "boolean",
            "default": False,
            "description": "sentences come whole, and are said again where words were said wrong; "
            "what is still wrong is told in the last event, or beside the words of the JSON",
        },
        **{name: schema for name, schema in _READING.items() if name in OPTIONS},
        **{option.name: _option(option) for option in fields(Options) if option.name in OPTIONS},
    }
    asked = {
        **TEXT,
        "minLength": 1,
        "maxLength": server.max_text,
        "description": "the text to speak",
    }
    return _object({"input": asked, **{n: _or_null(s) for n, s in optional.items()}}, ["input"])


def _option(option: Any) -> Schema:
    named = "integer" if kind(option) is int else "number"
    return {"type": named, **option.metadata["bounds"], "description": option.metadata["help"]}


def _or_null(schema: Schema) -> Schema:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def _object(properties: dict[str, Schema], required: Iterable[str] = ()) -> Schema:
    return {"type": "object", "properties": properties, "required": [*required]}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_MODEL = {**TEXT, "description": "one of /v1/models; the first of them if not given"}
_LISTED = _object({"id": TEXT, "name": TEXT, "object": TEXT}, ["id", "object"])
_FAILURE = _object(
    {"message": TEXT, **{name: {"type": ["string", "null"]} for name in ("type", "param", "code")}},
    ["message", "type"],
)
_ERROR = _object({"error": _FAILURE}, ["error"])
_WORD = _object(
    {
        "word": TEXT,
        "start": {"type": "number", "description": "seconds"},
        "end": {"type": "number"},
        "characters": {**_list({"type": "integer"}), "description": "its part of the input"},
    }
)
_FAULT = _object(
    {
        "kind": {"enum": ["skipped", "repeated", "babbling", "cut off"]},
        "text": TEXT,
        "characters": {**_list({"type": "integer"}), "description": "its part of the input"},
    }
)
_CHECKED = _object({"faults": _list(_FAULT), "tries": {"type": "integer"}})
_TIMED = _object(
    {
        "audio": {**TEXT, "description": "in base64"},
        "format": TEXT,
        "words": _list(_WORD),
        "checks": {**_list(_CHECKED), "description": "of each chunk of the text, if asked for"},
    },
    ["audio", "format", "words"],
)
_UPLOAD = {
    "name": {**TEXT, "pattern": f"^{NAME.pattern}$"},
    "audio_sample": {**FILE, "description": "a recording, or a voice file of this model"},
    "consent": {"enum": ["true"], "description": "the speaker agrees that the voice is cloned"},
}
_FORM = {
    "text": {**TEXT, "minLength": 1},
    "voice_url": {**TEXT, "description": "a voice's name; or its address, where that is allowed"},
    "voice_wav": {**FILE, "description": "a recording to clone, instead of a voice_url"},
}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _form(properties: dict[str, Schema], required: list[str]) -> Schema:
    return {"multipart/form-data": {"schema": _object(properties, required)}}


def operations(server: Context) -> dict[str, dict[str, Any]]:
    """What each endpoint takes and gives, by its name; its summary is its docstring."""
    audio = {media: {"schema": FILE} for media, _ in FORMATS.values()}
    models = {"200": _json(_object({"data": _list(_LISTED)}, ["data"]))}
    return {
        "speak": {
            "body": _json(speech(server)),
            "200": {**audio, "text/event-stream": {}, **_json(_TIMED)},
        },
        "tts": {"body": _form(_FORM, ["text"]), "200": {"audio/wav": {"schema": FILE}}},
        "models": models,
        "model": {"200": _json(_LISTED)},
        "voices": {
            "query": {"model": _MODEL},
            "200": _json(
                _object({"voices": _list(TEXT), "data": _list(_LISTED)}, ["voices", "data"])
            ),
        },
        "add_voice": {
            "body": _form({**_UPLOAD, "model": _MODEL}, [*_UPLOAD]),
            "201": _json(_LISTED),
        },
        "remove_voice": {"200": _json(_object({"deleted": {"const": True}}, ["deleted"]))},
        "health": {"200": _json(_object({"status": {"const": "healthy"}}, ["status"]))},
        "ready": dict.fromkeys(
            ("200", "503"), _json(_object({"ready": {"type": "boolean"}}, ["ready"]))
        ),
        "metrics": {"200": {"text/plain": {"schema": TEXT}}},
        "file": {"200": {"text/html": {"schema": TEXT}}},
        "document": {"200": _json({"type": "object"})},
    }


async def document(request: Request) -> Response:
    """This document."""
    return JSONResponse(build(request.app.routes, context.of(request)))


def build(routes: Iterable[Any], server: Context) -> Schema:
    """The document of an application's routes; the page's parts are no interface."""
    known = operations(server)
    paths: dict[str, Schema] = {}
    for route in routes:
        if isinstance(route, Route) and (route.path == "/" or route.path not in page.FILES):
            path = route.path.replace(":path}", "}")
            for method in sorted(route.methods - {"HEAD"}):
                operation = _operation(route, known[route.endpoint.__name__])
                paths.setdefault(path, {})[method.lower()] = operation
    secret = {"bearer": {"type": "http", "scheme": "bearer"}} if server.api_key else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "ptts_jax", "version": ptts_jax.__version__},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}, "securitySchemes": secret},
        "security": [{name: []} for name in secret],
    }


def _operation(route: Route, known: dict[str, Any]) -> Schema:
    answers = {
        status: {"description": "as asked", "content": content}
        for status, content in known.items()
        if status.isdecimal()
    }
    error = _object({"detail": TEXT}, ["detail"]) if route.path == "/tts" else None
    reference = {"$ref": "#/components/schemas/Error"}
    wrong = {"anyOf": [error, reference]} if error else reference
    operation: Schema = {
        "summary": (inspect.getdoc(route.endpoint) or "").partition("\n")[0],
        "operationId": f"{route.endpoint.__name__}_{route.path.strip('/').replace('/', '_')}",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": TEXT}
            for name in route.param_convertors
        ]
        + [{"name": n, "in": "query", "schema": s} for n, s in known.get("query", {}).items()],
        "responses": {
            **answers,
            "default": {"description": "what is wrong", "content": _json(wrong)},
        },
    }
    if "body" in known:
        operation["requestBody"] = {"required": True, "content": known["body"]}
    if route.path in guard.OPEN:
        operation["security"] = []
    return operation
