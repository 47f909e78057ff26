"""No secret and nothing that people wrote reaches the log or an error, however a call ends."""

import json

import pytest

from tests.events import EVENT_STREAM, JSON, chunk
from tests.gateway import PROVIDER_KEY, RunningGateway, bearer, chat_body
from tests.provider import Cut

PROMPT = "canary-prompt-7391"
ANSWER = "canary-answer-7391"


async def test_logs_and_errors_hold_no_key_no_prompt_and_no_answer(
    gateway: RunningGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    key, admin = await gateway.key(), await gateway.admin_key()
    messages = [{"role": "user", "content": PROMPT}]
    provider = gateway.provider
    error = {"error": {"message": f"Incorrect API key provided: {PROVIDER_KEY}. {PROMPT}", "code": "invalid_api_key"}}
    provider.answer(401, JSON, json.dumps(error).encode())
    provider.answer(400, JSON, json.dumps({"error": {"message": PROMPT}}).encode())
    provider.answer(200, EVENT_STREAM, [chunk(ANSWER), Cut.RESET], framing="chunked")
    provider.answer(200, {"content-type": "text/plain"}, ANSWER.encode())
    provider.raw(b"GARBAGE " + ANSWER.encode() + b"\r\n\r\n", Cut.CLOSE)
    provider.raw(Cut.RESET)
    refused = await gateway.chat(key, messages=messages)
    assert refused.status_code == 502 and PROVIDER_KEY not in refused.text and PROMPT not in refused.text
    await gateway.chat(key, messages=messages)
    await gateway.chat(key, messages=messages, stream=True)
    for _ in range(3):
        await gateway.chat(key, messages=messages)
    await gateway.http.post(
        f"/v1/chat/completions?key={key}", json=chat_body(messages=messages), headers=bearer(key[:-1])
    )
    await gateway.http.post("/v1/chat/completions", content=PROMPT.encode(), headers=bearer(admin))
    await gateway.http.post("/v1/chat/completions", content=PROMPT.encode(), headers=bearer(key))
    await gateway.chat(key, messages=messages, max_tokens=PROMPT)
    rows = await gateway.usage()
    assert len(rows) == 6
    await gateway.stack.aclose()
    written = "".join(capfd.readouterr())
    assert written.count('"event":"request"') == 10
    for canary in (key, key[:-1], admin, PROVIDER_KEY, PROMPT, ANSWER):
        assert canary not in written
        assert canary not in repr(rows)
    assert "upstream_refused" in written


async def test_log_tells_an_admin_why_an_upstream_failed(
    gateway: RunningGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    key = await gateway.key()
    gateway.provider.raw(Cut.RESET)
    gateway.provider.answer(401, {**JSON, "x-request-id": "req_theirs"}, b"{}")
    await gateway.chat(key)
    await gateway.chat(key)
    await gateway.stack.aclose()
    written = capfd.readouterr().out
    refused = next(line for line in written.splitlines() if "upstream_refused" in line and '"event":"log"' in line)
    assert all(word in refused for word in ("main", "401", "req_theirs"))
    broken = next(line for line in written.splitlines() if "upstream_unreachable" in line and '"event":"log"' in line)
    assert "main" in broken and "reset" in broken
