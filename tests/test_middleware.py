"""What is true of every URL, seen through a real server."""

import json
from collections.abc import Mapping

import pytest
from starlette.types import Receive, Scope, Send

from gateway.core.errors import GatewayFault
from gateway.logs import Field
from gateway.middleware import AccessLog, Cors, Edge
from tests.clock import SettableClock
from tests.serving import Endpoint, Running, ServedApp, running, say_hello

PAGE = b"Origin: https://chat.example\r\n"


class Records(list[dict[str, Field]]):
    """A sink that keeps the records."""

    def event(self, fields: Mapping[str, Field]) -> None:
        self.append(dict(fields))


class EdgedApp(ServedApp):
    """Serves an endpoint behind the layer. Each id is `req_` and the request's number."""

    def __init__(self, endpoint: Endpoint = say_hello, *, origins: tuple[str, ...] = ("*",)) -> None:
        self.clock = SettableClock()
        self.records = Records()
        self._requests = 0
        edge = Edge(
            endpoint, cors=Cors(origins), access_log=AccessLog(self.records, self.clock), new_id=self._number_request
        )
        super().__init__(edge)

    def _number_request(self) -> str:
        self._requests += 1
        return f"req_{self._requests}"


async def answer_to(served: Running, request_line: str, headers: bytes = b"") -> tuple[int, dict[str, str]]:
    """Return the status and headers of the answer, the last of equal names."""
    request = request_line.encode() + b" HTTP/1.1\r\nHost: evil.example/v1/organization\r\nConnection: close\r\n"
    answer = await served.exchange(request + headers + b"\r\n")
    head, _, _ = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    return int(status_line.split()[1]), dict(line.split(": ", 1) for line in lines)


# --- request ids ---


async def test_every_answer_carries_an_id_of_its_own() -> None:
    async with running(EdgedApp()) as served:
        answers = [await answer_to(served, line) for line in ("GET /v1/models", "GET /nothing", "OPTIONS /v1/models")]
    assert [headers["x-request-id"] for _, headers in answers] == ["req_1", "req_2", "req_3"]


@pytest.mark.parametrize(
    ("theirs", "kept"),
    [("abc-123", "abc-123"), ("a b", None), ("x" * 129, None), ("", None), ("<script>", None), ("\xe9", None)],
)
async def test_clients_own_id_is_kept_beside_ours_if_well_formed(theirs: str, kept: str | None) -> None:
    seen: list[tuple[str, str | None]] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["state"]["request_id"], scope["state"]["client_request_id"]))
        await say_hello(scope, receive, send)

    app = EdgedApp(endpoint)
    async with running(app) as served:
        _, headers = await answer_to(served, "GET /v1/models", b"X-Request-Id: %b\r\n" % theirs.encode("latin-1"))
    assert headers["x-request-id"] == "req_1"
    assert seen == [("req_1", kept)]
    assert app.records[0]["client_request_id"] == kept


# --- the access record ---


async def test_record_tells_of_the_answer_and_what_the_endpoint_added() -> None:
    async def endpoint(scope: Scope, _receive: Receive, send: Send) -> None:
        scope["state"]["log"].update(key_id="key_1", model="gpt-4o", input_tokens=12)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        app.clock.advance(1.5)
        await send({"type": "http.response.body", "body": b"de"})

    app = EdgedApp(endpoint)
    async with running(app) as served:
        await answer_to(served, "POST /v1/chat/completions")
    assert app.records == [
        {
            "at": 1_700_000_001.5, "event": "request", "request_id": "req_1", "client_request_id": None,
            "method": "POST", "path": "/v1/chat/completions", "status": 201, "complete": True, "duration_ms": 1500.0,
            "bytes": 5, "client": "127.0.0.1", "key_id": "key_1", "model": "gpt-4o", "input_tokens": 12,
        }
    ]  # fmt: skip


async def test_record_never_holds_the_query_string() -> None:
    app = EdgedApp()
    async with running(app) as served:
        await answer_to(served, "POST /v1beta/models/m:generateContent?key=canary-secret&alt=sse")
    assert app.records[0]["path"] == "/v1beta/models/m:generateContent"
    assert "canary-secret" not in json.dumps(app.records)


async def test_record_of_a_path_without_end_is_cut() -> None:
    app = EdgedApp()
    async with running(app) as served:
        await answer_to(served, "GET /" + "a" * 10_000)
    assert len(str(app.records[0]["path"])) == 512


async def test_health_checks_are_recorded_only_when_they_fail() -> None:
    statuses = [200, 503]

    async def endpoint(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": statuses.pop(0), "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = EdgedApp(endpoint)
    async with running(app) as served:
        await answer_to(served, "GET /readyz")
        await answer_to(served, "GET /readyz")
    assert [record["status"] for record in app.records] == [503]


async def test_answer_broken_off_is_recorded_as_incomplete() -> None:
    async def endpoint(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})

    app = EdgedApp(endpoint)
    async with running(app) as served:
        await answer_to(served, "GET /v1/models")
    assert (app.records[0]["status"], app.records[0]["complete"], app.records[0]["bytes"]) == (200, False, 3)


async def test_fault_that_nothing_caught_is_answered_500_with_the_id() -> None:
    async def endpoint(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("a bug")

    app = EdgedApp(endpoint)
    async with running(app) as served:
        answer = await served.exchange(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"x-request-id: req_1" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"] == GatewayFault().message
    assert app.records[0]["status"] == 500


# --- CORS ---

SHARED = [
    "/v1/chat/completions", "/openai/v1/responses", "/claude/v1/messages", "/v1beta/models/m:generateContent",
    "/openai/billing/credit_grants", "/dashboard/billing/usage", "/v1/me",
]  # fmt: skip
NOT_SHARED = [
    "/v1/organization/users",
    "/v1/organization",
    "/openai/v1/organization/limits",
    "/metrics",
    "/healthz",
    "/",
]


def ask_for(method: bytes, headers: bytes = b"") -> bytes:
    return PAGE + b"Access-Control-Request-Method: %b\r\n" % method + headers


@pytest.mark.parametrize("path", SHARED)
async def test_preflight_on_a_shared_url_is_answered_without_a_key_and_without_the_endpoint(path: str) -> None:
    async def endpoint(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("a preflight is not the endpoint's")

    asked = b"Access-Control-Request-Headers: authorization,x-stainless-os\r\n"
    async with running(EdgedApp(endpoint)) as served:
        status, headers = await answer_to(served, f"OPTIONS {path}", ask_for(b"POST", asked))
    assert status == 204
    assert headers["access-control-allow-origin"] == "*"
    assert "POST" in headers["access-control-allow-methods"]
    allowed = set(headers["access-control-allow-headers"].replace(" ", "").split(","))
    assert allowed >= {
        "authorization", "content-type", "accept", "x-api-key", "anthropic-version", "anthropic-beta",
        "x-goog-api-key", "openai-beta", "x-stainless-os",
    }  # fmt: skip
    assert "x-request-id" in headers


@pytest.mark.parametrize("path", NOT_SHARED)
async def test_administration_and_operations_are_never_shared(path: str) -> None:
    async with running(EdgedApp()) as served:
        for line, headers in ((f"OPTIONS {path}", ask_for(b"POST")), (f"GET {path}", PAGE)):
            status, answered = await answer_to(served, line, headers)
            assert status == 200  # the endpoint's own answer
            assert not [name for name in answered if name.startswith("access-control")]


async def test_answer_to_a_page_exposes_ids_and_limits() -> None:
    async with running(EdgedApp()) as served:
        _, headers = await answer_to(served, "POST /v1/chat/completions", PAGE)
    assert headers["access-control-allow-origin"] == "*"
    exposed = headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after", "x-ratelimit-remaining-requests", "x-gateway-cost-usd"} <= set(exposed)


async def test_answer_to_a_program_carries_no_cors_headers() -> None:
    async with running(EdgedApp()) as served:
        _, headers = await answer_to(served, "POST /v1/chat/completions")
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [(b"https://chat.example", True), (b"https://evil.example", False), (b"https://chat.example.evil", False)],
)
async def test_only_the_configured_origins_may_read(origin: bytes, allowed: bool) -> None:
    page = b"Origin: " + origin + b"\r\n"
    async with running(EdgedApp(origins=("https://chat.example",))) as served:
        _, headers = await answer_to(served, "GET /v1/models", page)
        preflight, _ = await answer_to(served, "OPTIONS /v1/models", page + b"Access-Control-Request-Method: GET\r\n")
    assert headers.get("access-control-allow-origin") == (origin.decode() if allowed else None)
    assert headers["vary"] == "origin"
    assert preflight == (204 if allowed else 200)


async def test_header_names_asked_for_are_not_echoed_if_malformed() -> None:
    asked = b"Access-Control-Request-Headers: x-a, <b>\r\n"
    async with running(EdgedApp()) as served:
        _, headers = await answer_to(served, "OPTIONS /v1/models", ask_for(b"GET", asked))
    assert "<b>" not in headers["access-control-allow-headers"]
