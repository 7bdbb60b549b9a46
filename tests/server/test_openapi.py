"""The OpenAPI document against the server, and thousands of requests that nobody would send."""

import json
import logging
import random
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from starlette.routing import Route

from ptts_jax.engine import loops
from ptts_jax.server import app, openapi, page
from ptts_jax.server.context import OPTIONS
from tests.server.conftest import KEY, Served, serving
from tests.server.test_server import recording
from tests.support import quick_model, tiny_files

TEXT = "The river was wide."


@pytest.fixture(scope="module")
def quick(tts: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose model costs no time; all before and behind it is real."""
    folder = tmp_path_factory.mktemp("voices")
    tts.voice(tiny_files.speech(2.0, seed=3)).save(folder / "anna.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "decode_block", quick_model.decode_block)
        with serving(tts, voices=folder, model=quick_model.QuickModel()) as server:
            yield server
            server.wait_until_idle()


@pytest.fixture
def unbroken(quick: Served, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    """It still speaks at the end, and its log tells of no mistake of its own."""
    caplog.set_level(logging.INFO)
    yield quick
    assert quick.speak().status_code == 200
    assert [r.getMessage() for r in caplog.records if r.exc_info or r.levelno >= 40] == []
    assert TEXT not in caplog.text


# The document says what is so.


def test_every_route_is_described(quick: Served):
    document = quick.http.get("/openapi.json").json()
    routes = [r for r in app.build(quick.context).routes if isinstance(r, Route)]
    served = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in routes
        for method in route.methods - {"HEAD"}
        if route.path == "/" or route.path not in page.FILES
    }
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert described == served
    assert {r.endpoint.__name__ for r in routes} == {*openapi.operations(quick.context)}
    for item in document["paths"].values():
        assert all(operation["summary"].endswith(".") for operation in item.values())


def test_the_document_tells_no_secrets(quick: Served):
    text = quick.http.get("/openapi.json", headers={"Authorization": ""}).text
    assert KEY not in text and "anna" not in text


def fitting(schema: dict[str, Any]) -> list[Any]:
    """Values that a schema allows, at its edges."""
    if "enum" in schema:
        return schema["enum"]
    kinds = schema["type"]
    if "string" in kinds:
        return ["tts-1", None]
    if "boolean" in kinds:
        return [True, False, None]
    if "object" in kinds:
        return [{}, {"river": "stream"}, None]
    step = 1 if "integer" in kinds else 1e-3
    edges = {
        "minimum": 0,
        "maximum": 0,
        "exclusiveMinimum": step,
        "exclusiveMaximum": -step,
    }
    found = [schema[edge] + more for edge, more in edges.items() if edge in schema]
    return [*(found or [-7, 0, 2**70]), None]


def unfitting(schema: dict[str, Any]) -> list[Any]:
    """Values that it does not."""
    wrong: list[Any] = ["loud", [], [1]]
    kinds = schema.get("type", [])
    if "string" in kinds:
        return [[], {}, 7, True]
    if "object" in kinds:
        return [*wrong, {"river": 7}, 1, True]
    wrong += [{}, {"a": 1}]
    if "enum" in schema:
        return [*wrong, 1, True, ""]
    if "boolean" in kinds:
        return [*wrong, 1, 0.5]
    edges = {"minimum": -1e-6, "maximum": 1e-6, "exclusiveMinimum": 0, "exclusiveMaximum": 0}
    wrong += [schema[edge] + more for edge, more in edges.items() if edge in schema]
    return [*wrong, True, *([1.5] if "integer" in kinds else [float("nan")])]


def test_the_parser_takes_what_the_document_allows_and_nothing_else(quick: Served):
    properties = openapi.speech(quick.context)["properties"]
    assert {*OPTIONS} <= {*properties}
    for name, schema in properties.items():
        if name in ("input", "voice"):
            continue
        for value in fitting(schema):
            answer = quick.speak(**{name: value})
            assert answer.status_code == 200, (name, value, answer.text)
        for value in unfitting(schema):
            body = json.dumps({"input": TEXT, name: value}).encode()
            answer = quick.http.post("/v1/audio/speech", content=body)
            assert answer.status_code == 400, (name, value)
            assert answer.json()["error"]["param"] == name, answer.text
    most = properties["input"]["maxLength"]
    assert quick.speak(input="a" * most).status_code == 200
    assert quick.speak(input="a" * (most + 1)).status_code == 400


def unfit(case: schemathesis.Case) -> set[str]:
    """Checks that say nothing of a case: a form carries text, and [null] in it is the text null."""
    form = isinstance(case.body, dict) and case.media_type != "application/json"
    untold = form and any(not isinstance(value, str | bytes) for value in case.body.values())
    return {"negative_data_rejection"} if untold else set()


@pytest.mark.parametrize("count", [4, pytest.param(150, marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing(unbroken: Served, count):
    load_all_checks()
    checks = dict(CHECKS._items)
    del checks["positive_data_acceptance"]
    document = schemathesis.openapi.from_url(f"{unbroken.url}/openapi.json")
    number = 0
    for found in document.get_all_operations():
        operation = found.ok()
        given_any = operation.body or operation.path_parameters
        for mode in GenerationMode if given_any else [GenerationMode.POSITIVE]:

            @settings(
                max_examples=count,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def holds(case: schemathesis.Case) -> None:
                nonlocal number
                number += 1
                answer = case.call(headers=unbroken.headers)
                untold = unfit(case)
                held = [check for name, check in checks.items() if name not in untold]
                case.validate_response(answer, checks=held, headers=unbroken.headers)
                assert b"Traceback" not in answer.content

            holds()
    assert number > 5 * count


def multipart(fields: dict[str, str], file: str, data: bytes) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}' for n, v in fields.items()
    ]
    parts.append(f'--b\r\nContent-Disposition: form-data; name="{file}"; filename="a"\r\n\r\n')
    return "\r\n".join(parts).encode() + data + b"\r\n--b--\r\n"


def requests() -> list[tuple[bytes, bytes]]:
    """Requests as they go over the wire, head and body, that are all right."""
    asked = {"input": TEXT, "voice": "anna", "response_format": "opus", "speed": 2, "seed": 1}
    marked = {"input": "It [pause 1] has [rate 2] 12.", "markup": True, "lexicon": {"it": "he"}}
    form, sound = "multipart/form-data; boundary=b", recording(0.3, 8000)
    said = multipart({"text": TEXT}, "voice_wav", sound)
    added = multipart({"name": "x", "consent": "true"}, "audio_sample", sound)
    whole = [
        ("POST /v1/audio/speech", "application/json", json.dumps(asked).encode()),
        ("POST /v1/audio/speech", "application/json", json.dumps(marked).encode()),
        ("POST /tts", form, said),
        ("POST /tts", "application/x-www-form-urlencoded", b"text=Hello&voice_url=anna"),
        ("POST /v1/audio/voices", form, added),
        ("DELETE /v1/audio/voices/x", "text/plain", b""),
        ("GET /v1/models/tiny", "text/plain", b""),
        ("GET /v1/audio/speech/stream", "text/plain", b""),
    ]
    return [
        (
            f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
            f"Connection: close\r\nContent-Type: {kind}\r\n".encode(),
            body,
        )
        for line, kind, body in whole
    ]


def mutated(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Bytes are lost, changed, repeated, or taken from another."""
    changed = bytearray(data)
    for _ in range(rng.randrange(4)):
        at, size = rng.randrange(len(changed) + 1), rng.choice((0, 1, 1, 2, 8, 40))
        other = rng.choice(others)
        start = rng.randrange(len(other) + 1)
        changed[at : at + size] = rng.choice(
            (
                b"",
                rng.randbytes(size),
                changed[at : at + size] * 3,
                other[start : start + size],
                rng.choice(
                    (b"\0", b"-1", b"1e999", b"NaN", b"null", b"[[", b'"', b"\r\n", b"\xff")
                ),
            )
        )
    return bytes(changed)


def sent(address: str, request: bytes) -> bytes:
    """The answer to raw bytes. Who says no more after a moment hangs up."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=0.5) as wire:
        wire.sendall(request)
        answer, waited = b"", False
        while True:
            try:
                part = wire.recv(1 << 16)
            except TimeoutError:
                assert not waited, (request, "never answered")
                waited = not answer
                wire.shutdown(socket.SHUT_WR)
                wire.settimeout(60)
                continue
            except ConnectionResetError:  # it refuses to read the rest
                return answer
            if not part:
                return answer
            answer += part


@pytest.mark.parametrize("count", [200, pytest.param(9000, marks=pytest.mark.slow)])
def test_mutated_requests_never_break_the_server(unbroken: Served, count):
    rng, fine = random.Random(5), requests()
    heads, bodies = [head for head, _ in fine], [body for _, body in fine]
    many = []
    for number in range(count):
        head, body = fine[number % len(fine)]
        if number >= len(fine):
            head = mutated(rng, head, heads) if rng.random() < 0.5 else head
            body = mutated(rng, body, bodies)
        length = (
            len(body)
            if rng.random() < 0.95
            else rng.choice((-1, 1, 10**9, 10**30, "x", len(body) - 1))
        )
        many.append(head + f"Content-Length: {length}\r\n\r\n".encode() + body)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda request: sent(unbroken.address, request), many))
    for request, answer in zip(many, answers, strict=True):
        assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")) or not answer, (request, answer)
        assert b"Traceback" not in answer
    statuses = Counter(answer[9:12] for answer in answers)
    assert statuses[b"200"] > count / 10 and statuses[b"400"] > count / 10, statuses
