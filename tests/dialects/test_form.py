"""Forms are read as every other reader would read them, or refused."""

import json
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.dialects.form import MOST_HEADER_BYTES, MOST_PARTS, Form, boundary_of, read_form, reread
from tests.media import BOUNDARY, field, form

HEADERS = [(b"content-type", b"multipart/form-data; boundary=" + BOUNDARY.encode())]
MODEL = field("model", "whisper-1")
FILE = field("file", b"\x00\r\n\xff--", "a.wav", "Content-Type: audio/wav")
GOOD = form(MODEL, FILE)
DELIMITER = b"--" + BOUNDARY.encode()


def read(body: bytes) -> Form:
    return read_form(body, HEADERS)


def test_fields_are_found_with_their_names_and_contents() -> None:
    body = form(MODEL, field("n", "2"), FILE, field("image[]", b"", "b.png"), field("svg[model]", "x"))
    found = read(body)
    assert [(part.name, part.brackets, part.is_file) for part in found.parts] == [
        ("model", "", False), ("n", "", False), ("file", "", True), ("image", "[]", True), ("svg", "[model]", False),
    ]  # fmt: skip
    assert found.content(found.file("file")) == b"\x00\r\n\xff--"
    assert (found.text("model"), found.whole("n", 10), found.text("size")) == ("whisper-1", 2, None)


CONTENT_TYPES = [
    (b"multipart/form-data; boundary=abc", "abc"),
    (b'multipart/form-data; boundary="a b"', None),
    (b'multipart/form-data; boundary="a:b/c?"', "a:b/c?"),
    (b"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", "----WebKitFormBoundary7MA4YWxkTrZu0gW"),
    (b"Multipart/Form-Data;boundary=abc; charset=UTF-8", "abc"),
    (b"multipart/form-data; charset=utf-8; boundary=abc", "abc"),
    (b"multipart/form-data", None),
    (b"multipart/form-data; boundary=", None),
    (b"multipart/form-data; boundary=" + b"x" * 71, None),
    (b"multipart/form-data; boundary=a; boundary=b", None),
    (b"multipart/form-data; boundary*=a", None),
    (b"multipart/form-data; boundary=a; x=y", None),
    (b"multipart/form-data; charset=utf-16; boundary=a", None),
    (b"multipart/form-data, multipart/form-data; boundary=a", None),
    (b"multipart/mixed; boundary=a", None),
    (b"application/json", None),
    (b"", None),
]


@pytest.mark.parametrize(("value", "boundary"), CONTENT_TYPES)
def test_boundary_is_the_one_that_the_content_type_names(value: bytes, boundary: str | None) -> None:
    headers = [(b"content-type", value)]
    if boundary is not None:
        assert boundary_of(headers) == boundary
    else:
        with pytest.raises(InvalidRequest, match=r"multipart/form-data|boundary"):
            boundary_of(headers)


def test_content_type_must_stand_there_once() -> None:
    for headers in ([], HEADERS * 2):
        with pytest.raises(InvalidRequest, match="once"):
            boundary_of(headers)


CLIENTS: dict[str, list[bytes]] = {
    "of .NET": [
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model\r\n\r\nwhisper-1",
        b"Content-Disposition: form-data; name=file; filename=a.wav; filename*=utf-8''a.wav\r\n\r\nx",
    ],
    "of OkHttp": [
        b'Content-Disposition: form-data; name="model"\r\nContent-Length: 9\r\n\r\nwhisper-1',
        b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n'
        b"Content-Length: 1\r\n\r\nx",
    ],
    "of Apache": [
        b'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=US-ASCII\r\n'
        b"Content-Transfer-Encoding: 8bit\r\n\r\nwhisper-1",
        b'Content-Disposition: form-data; name="file"; filename="\xc3\xa9 (1).wav"\r\nContent-Transfer-Encoding: binary'
        b"\r\n\r\nx",
    ],
}


@pytest.mark.parametrize("name", CLIENTS)
def test_form_as_other_clients_write_it_is_read(name: str) -> None:
    found = read(form(*CLIENTS[name]))
    assert found.text("model") == "whisper-1" and found.content(found.file("file")) == b"x"


def test_form_as_httpx_writes_it_is_read() -> None:
    files = [("image[]", ("ä.png", b"\x01\r\n", "image/png")), ("image[]", ("b.png", b"\x02", "image/png"))]
    request = httpx.Request("POST", "http://x", data={"model": "gpt-image-1", "n": "2"}, files=files)
    found = read_form(request.read(), [(b"content-type", request.headers["content-type"].encode())])
    assert (found.text("model"), found.whole("n", 10)) == ("gpt-image-1", 2)
    assert [found.content(part) for part in found.named("image")] == [b"\x01\r\n", b"\x02"]


def headed(*lines: bytes) -> bytes:
    """A form of a model whose field has these headers."""
    return form(b"\r\n".join(lines) + b"\r\n\r\nwhisper-1", FILE)


NAMED = b'Content-Disposition: form-data; name="model"'
MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "no form": b'{"model":"whisper-1"}',
    "another boundary": form(MODEL, FILE, boundary="fedcba9876543210"),
    "a preamble": b"hello\r\n" + GOOD,
    "a line end before": b"\r\n" + GOOD,
    "no fields": DELIMITER + b"--\r\n",
    "no end": GOOD[: -len(DELIMITER) - 4],
    "half an end": GOOD[:-3],
    "fields behind the end": GOOD + DELIMITER + b"\r\n" + MODEL + b"\r\n" + DELIMITER + b"--\r\n",
    "an epilogue": GOOD + b"x",
    "two line ends behind the end": GOOD + b"\r\n",
    "line feeds alone": GOOD.replace(b"\r\n", b"\n"),
    "a boundary behind a line feed alone": form(MODEL, field("file", b"x\n" + DELIMITER + b"\r\nx", "a")),
    "a boundary in a field": form(MODEL, field("file", b"x" + DELIMITER + b"x", "a")),
    "a longer boundary in a field": form(MODEL, field("file", b"\r\n" + DELIMITER + b"x\r\n", "a")),
    "a boundary with spaces behind it": GOOD.replace(DELIMITER + b"\r\n", DELIMITER + b" \r\n", 1),
    "a field without a head": DELIMITER + b"\r\nwhisper-1\r\n" + GOOD,
    "a field with a blank head": form(b"\r\n\r\nwhisper-1", FILE),
    "a field whose head has no end": form(NAMED, FILE),
    "a head of many bytes": headed(NAMED, b"x: " + b"y" * MOST_HEADER_BYTES),
    "a head of many headers": headed(NAMED, *(b"x%d: y" % n for n in range(20))),
    "a header twice": headed(NAMED, NAMED),
    "a folded header": headed(NAMED + b";", b' filename="x"'),
    "a header with a space before its colon": headed(NAMED, b"content-type : text/plain"),
    "a header with a NUL": headed(NAMED, b"x: \x00"),
    "a header with a carriage return": headed(NAMED, b"x: a\rb"),
    "a header without a name": headed(NAMED, b": x"),
    "no disposition": headed(b"content-type: text/plain"),
    "another disposition": headed(b'Content-Disposition: attachment; name="model"'),
    "no name": headed(b"Content-Disposition: form-data"),
    "an empty name": headed(b'Content-Disposition: form-data; name=""'),
    "an escaped name": headed(b'Content-Disposition: form-data; name="mod\\el"'),
    "a name in per cent": headed(b'Content-Disposition: form-data; name="%6dodel"'),
    "a name of letters from afar": headed('Content-Disposition: form-data; name="mödel"'.encode()),
    "a name twice": headed(b'Content-Disposition: form-data; name="model"; name="x"'),
    "an extended name": headed(b"Content-Disposition: form-data; name*=utf-8''model"),
    "a name hidden in a filename": headed(b'Content-Disposition: form-data; name="x"; filename="a\\"; name=\\"model"'),
    "a base64 field": headed(NAMED, b"Content-Transfer-Encoding: base64"),
    "a quoted-printable field": headed(NAMED, b"content-transfer-encoding: quoted-printable"),
    "a length that is not true": headed(NAMED, b"Content-Length: 3"),
    "too many fields": form(*[field(f"x{n}", "y") for n in range(MOST_PARTS)], MODEL),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_form_that_two_readers_could_read_differently_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read(MALFORMED[name])
    assert len(refusal.value.message) > 20 and refusal.value.param is None


UNCLEAR: dict[str, list[bytes]] = {
    "twice": [MODEL, MODEL],
    "as a list": [field("model[]", "whisper-1")],
    "as an item of a list": [field("model[0]", "whisper-1")],
    "plainly and as a list": [MODEL, field("model[]", "x")],
    "as a file": [field("model", "whisper-1", "a.txt")],
    "in another alphabet": [field("model", "whisper-1", None, "Content-Type: text/plain; charset=utf-16")],
    "as JSON": [field("model", '"whisper-1"', None, "Content-Type: application/json")],
    "beyond ASCII": [field("model", "whispér")],
    "with a line end": [field("model", "whisper-1\r\nx")],
    "with a NUL": [field("model", "whisper-1\0")],
    "of many characters": [field("model", "x" * 257)],
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_deciding_field_that_is_not_plain_is_refused_by_its_name(name: str) -> None:
    found = read(form(*UNCLEAR[name], FILE))
    with pytest.raises(InvalidRequest, match="`model`") as refusal:
        found.text("model")
    assert refusal.value.param == "model"


@pytest.mark.parametrize("text", ["", "0", "-1", "11", "1.5", "1e3", "\u0661", " 2", "99999999999999999999", "true"])
def test_number_that_is_none_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="`n`"):
        read(form(field("n", text))).whole("n", 10)


@pytest.mark.parametrize("text", ["", "yes", "2", "tru"])
def test_flag_that_is_neither_true_nor_false_is_refused(text: str) -> None:
    found = read(form(field("stream", text)))
    if text:
        with pytest.raises(InvalidRequest, match="`stream`"):
            found.flag("stream")
    else:
        assert not found.flag("stream")


def test_file_must_be_one_with_a_filename() -> None:
    for fields in ([MODEL], [field("file", b"x")], [FILE, FILE]):
        with pytest.raises(InvalidRequest, match="`file`"):
            read(form(*fields)).file("file")


def test_ids_of_files_are_references_wherever_they_stand() -> None:
    fields = [field("images[][file_id]", "file-1"), field("mask[file_id]", "file-2"), field("file_id", "file-3"), FILE]
    assert read(form(*fields)).references() == ("file-1", "file-2", "file-3")
    with pytest.raises(InvalidRequest):
        read(form(field("file_id", "é"))).references()


def test_replaced_field_leaves_every_other_byte_as_it_was() -> None:
    body = form(field("model", "fast"), FILE, field("prompt", "model: fast"))
    changed = reread(body).replaced({"model": "whisper-large-v3"})
    assert changed == form(field("model", "whisper-large-v3"), FILE, field("prompt", "model: fast"))
    assert read(changed).text("model") == "whisper-large-v3"


NAMES = st.sampled_from(["model", "n", "file", "image[]", "x"])
CONTENTS = st.binary(max_size=30) | st.text("whisper-1\r\n", max_size=12).map(str.encode)


@given(st.lists(st.tuples(NAMES, CONTENTS, st.none() | st.just("a.wav")), min_size=1, max_size=5), st.data())
def test_form_that_is_read_is_read_alike_by_another_parser(
    fields: list[tuple[str, bytes, str | None]], data: st.DataObject
) -> None:
    body = form(*[field(name, content, filename) for name, content, filename in fields])
    at = data.draw(st.integers(0, len(body)))
    mutated = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    try:
        found = read(mutated)
    except InvalidRequest:
        return
    parsed = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + HEADERS[0][1] + b"\r\n\r\n" + mutated)
    parts = cast(list[Message], parsed.get_payload())
    theirs = [(_name(part), part.get_payload(decode=True)) for part in parts]
    assert [(part.name + part.brackets, found.content(part)) for part in found.parts] == theirs


def _name(part: Message) -> object:
    return part.get_param("name", header="content-disposition")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_words_or_read(rest: bytes) -> None:
    for body in (rest, DELIMITER + b"\r\n" + rest, GOOD[:-4] + rest):
        try:
            read(body)
        except InvalidRequest as refusal:
            assert json.dumps(refusal.message)
