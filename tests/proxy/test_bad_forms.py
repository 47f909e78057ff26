"""Forms that cannot be served are refused in the dialect with words that help, reach nobody and charge nothing."""

import json
from typing import Any

import pytest

from gateway.core.limits import Interval, Metric
from tests.events import JSON
from tests.gateway import RunningGateway, bearer
from tests.media import BOUNDARY, field, form, form_type, images_answer, wav
from tests.provider import compose

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
FORMS = (TRANSCRIPTIONS, TRANSLATIONS, EDITS, VARIATIONS)
FILES = [field("file", wav(0.1), "a.wav"), field("image", b"x", "a.png")]
WORDS = {"model": "m", "prompt": "A cat"}


def asked(*more: bytes, **words: str) -> bytes:
    """A form that every one of the routes takes, and what is wrong with it."""
    return form(*[field(name, text) for name, text in (WORDS | words).items()], *FILES, *more)


BAD_FIELDS: list[tuple[str, str, bytes, str | None]] = [
    ("no model", TRANSCRIPTIONS, form(field("file", wav(0.1), "a.wav")), "model"),
    ("an empty model", TRANSCRIPTIONS, asked(model=""), "model"),
    ("a model with a space", EDITS, asked(model="a b"), "model"),
    ("a model twice", TRANSCRIPTIONS, asked(field("model", "other")), "model"),
    ("a model twice, once in brackets", EDITS, asked(field("model[]", "other")), "model"),
    ("a model as a file", EDITS, form(field("model", "m", "m.txt"), *FILES), "model"),
    ("no file", TRANSCRIPTIONS, form(field("model", "m")), "file"),
    ("a file as text", TRANSLATIONS, form(field("model", "m"), field("file", "x")), "file"),
    ("two files", TRANSCRIPTIONS, asked(field("file", wav(0.1), "b.wav")), "file"),
    ("no image", EDITS, form(field("model", "m"), field("prompt", "x")), "image"),
    ("an image as text", VARIATIONS, form(field("model", "m"), field("image", "x")), "image"),
    ("a mask alone", EDITS, form(field("model", "m"), field("mask", b"x", "a.png")), "image"),
    ("no pictures", EDITS, asked(n="0"), "n"),
    ("pictures without number", EDITS, asked(n="1e3"), "n"),
    ("less than no pictures", VARIATIONS, asked(n="-1"), "n"),
    ("a number of pictures twice", EDITS, asked(field("n", "9"), n="1"), "n"),
    ("a size twice", EDITS, asked(field("size", "9x9"), size="1x1"), "size"),
    ("a prompt twice", EDITS, asked(field("prompt", "x" * 99)), "prompt"),
    ("a stream that is neither", TRANSCRIPTIONS, asked(stream="maybe"), "stream"),
    ("partial pictures without number", EDITS, asked(partial_images="x"), "partial_images"),
    ("an id beyond ASCII", EDITS, asked(field("images[][file_id]", "é")), "file_id"),
    ("no boundary in the body", EDITS, b"x" * 100, None),
    ("a body that is JSON", TRANSCRIPTIONS, json.dumps(WORDS).encode(), None),
    ("half a body", TRANSCRIPTIONS, asked()[:-30], None),
    ("nothing", EDITS, b"", None),
    ("an end in the middle", EDITS, asked() + b"--" + BOUNDARY.encode() + b"--\r\n", None),
]


async def test_bad_forms_are_refused_by_name_and_cost_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 1)])
    for name, path, body, param in BAD_FIELDS:
        refused = await gateway.post(key, path, body, **form_type())
        error = refused.json()["error"]
        assert (refused.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param), name
        assert len(error["message"]) > 20 and "x-request-id" in refused.headers, name
    assert gateway.provider.requests == [] and await gateway.usage() == []
    gateway.provider.answer(200, JSON, images_answer())
    assert (await gateway.post(key, EDITS, asked(), **form_type())).status_code == 200
    await gateway.audit()


@pytest.mark.parametrize("path", FORMS)
async def test_route_of_forms_takes_nothing_else(gateway: RunningGateway, path: str) -> None:
    key = await gateway.key()
    kinds: list[dict[str, str]] = [
        {"content-type": "application/json"}, {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data"}, {"content-type": "multipart/mixed; boundary=" + BOUNDARY},
        {"content-type": f"multipart/form-data; boundary={BOUNDARY}; boundary=other"}, {},
    ]  # fmt: skip
    for kind in kinds:
        refused = await gateway.http.post(path, content=asked(), headers=bearer(key) | kind)
        assert refused.status_code == 400 and "form" in refused.json()["error"]["message"], kind
    assert gateway.provider.requests == []


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/audio/speech", "/v1/moderations"])
async def test_route_of_json_takes_no_form(gateway: RunningGateway, path: str) -> None:
    refused = await gateway.post(await gateway.key(), path, asked(), **form_type())
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert gateway.provider.requests == []


async def test_routes_answer_below_the_prefix_and_to_no_other_method(gateway: RunningGateway) -> None:
    gateway.provider.always(lambda _request: compose(200, JSON, images_answer()))
    key = await gateway.key()
    json_bodies: dict[str, Any] = {
        "/v1/images/generations": {"model": "m", "prompt": "x"},
        "/v1/audio/speech": {"model": "m", "input": "x", "voice": "v"},
        "/v1/moderations": {"input": "x"},
    }
    for path, body in json_bodies.items():
        assert (await gateway.post(key, "/openai" + path, body)).status_code == 200
    for path in FORMS:
        assert (await gateway.post(key, "/openai" + path, asked(), **form_type())).status_code == 200
    assert [request.path for request in gateway.provider.requests] == [*json_bodies, *FORMS]
    for path in (*json_bodies, *FORMS):
        for method in ("GET", "DELETE", "PUT"):
            refused = await gateway.http.request(method, path, headers=bearer(key))
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "route_not_served")


async def test_form_with_odd_words_harms_nothing(any_gateway: RunningGateway) -> None:
    """What nobody acts on passes as it is, and what is written to the ledger suits every database."""
    any_gateway.provider.always(lambda _request: compose(200, JSON, images_answer(size="\u0000<b>'; DROP TABLE usage")))
    key = await any_gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 100)])
    odd = [field("user", b"\xff\x00\xfe"), field("x" * 64, "\r\n\r\n"), field("size", "x' OR 1=1 --"), field("n", "1")]
    for one in odd:
        body = asked(one)
        assert (await any_gateway.post(key, EDITS, body, **form_type())).status_code == 200
        assert (await any_gateway.provider.request()).body == body
    assert {row.image_size for row in await any_gateway.usage()} == {"auto"}
    await any_gateway.audit()
