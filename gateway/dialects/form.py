"""Form bodies (multipart/form-data, RFC 7578): refused when two readers could read them differently.

A parser of our own, because it must be stricter than any that is made to get along with every browser: the provider
has to find the same fields as we did, with the same values. So what stands in the body once is in one place only, and
whatever readers are known to disagree on is refused: a preamble, fields behind the end, the boundary inside a part,
lone line feeds, folded headers, escaped names, encoded parts. The files themselves are not looked into or copied.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from gateway.core.errors import InvalidRequest

MOST_PARTS = 256
MOST_HEADER_BYTES = 4_096
MOST_HEADERS = 8
MOST_TEXT_BYTES = 256
"""A field that we act on is a word or a number."""
_BOUNDARY = r"[0-9A-Za-z'()+_,./:=?-]{1,70}"
_CONTENT_TYPE = re.compile(
    rf'multipart/form-data(?:\s*;\s*(?:boundary=(?:"({_BOUNDARY})"|([0-9A-Za-z+_.\'-]{{1,70}}))|charset="?utf-8"?))+\s*',
    re.IGNORECASE,
)
_BOUNDARY_PARAMETER = re.compile(rb";\s*boundary=", re.IGNORECASE)
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_DISPOSITION = re.compile(
    rb"""form-data;[ \t]*name=(?:"(?P<quoted>[^"]*)"|(?P<bare>[0-9A-Za-z_.-]+))"""
    rb"""(?P<file>;[ \t]*filename=(?:"[^"\\]*"|[0-9A-Za-z!#$&'+.^_`|~-]+))?"""
    rb"""(?P<more>;[ \t]*filename\*=[0-9A-Za-z!#$&'+.^_`|~%-]*)?""",
    re.IGNORECASE,
)
_NAME = re.compile(rb"([0-9A-Za-z_.-]{1,64})((?:\[[0-9A-Za-z_.-]{0,64}\]){0,4})")
_TEXT_TYPE = re.compile(rb"text/plain(?:;[ \t]*charset=\"?(?:utf-8|us-ascii)\"?)?", re.IGNORECASE)
_PLAIN_ENCODINGS = (b"binary", b"8bit", b"7bit")


class Part(msgspec.Struct, frozen=True):
    """One field: its name without brackets, what stands in them, and where its content lies in the body.

    `is_file` is what a server takes for a file: it has a filename. `is_text` allows no other reading than UTF-8.
    """

    name: str
    brackets: str
    is_file: bool
    is_text: bool
    start: int
    end: int

    @property
    def size(self) -> int:
        """Its content's bytes."""
        return self.end - self.start


class Form(msgspec.Struct, frozen=True):
    """The fields of a body in their order."""

    body: bytes
    parts: Sequence[Part]

    def named(self, *names: str) -> list[Part]:
        """Return the fields of these names, whatever stands in brackets behind them."""
        return [part for part in self.parts if part.name in names]

    def content(self, part: Part) -> bytes:
        """Return a field's content."""
        return self.body[part.start : part.end]

    def text(self, name: str) -> str | None:
        """Return a short text field that decides about money, None when it is not there.

        Raises InvalidRequest for one that stands there twice, in brackets, as a file, or with what is no plain ASCII.
        """
        part = self.field(name)
        if part is None:
            return None
        text = self.content(part) if part.size <= MOST_TEXT_BYTES else b"\0"
        if not text.isascii() or not text.decode("ascii").isprintable():
            raise InvalidRequest(f"`{name}` must be at most {MOST_TEXT_BYTES} printable ASCII characters.", param=name)
        return text.decode("ascii")

    def field(self, name: str) -> Part | None:
        """Return the one text field of this name. Raises InvalidRequest as `text` does."""
        found = self.named(name)
        if not found:
            return None
        if len(found) > 1:
            raise InvalidRequest(f"`{name}` stands in the form twice; send it once.", param=name)
        if found[0].is_file or found[0].brackets or not found[0].is_text:
            raise InvalidRequest(f"`{name}` must be a plain text field, not a file or a list.", param=name)
        return found[0]

    def references(self) -> tuple[str, ...]:
        """Return the ids of files at the provider that fields such as `image[file_id]` name. Raises InvalidRequest."""
        naming = [part for part in self.parts if "file_id" in part.name + part.brackets]
        texts = [self.content(part)[: MOST_TEXT_BYTES + 1] for part in naming]
        if any(not text.isascii() or len(text) > MOST_TEXT_BYTES for text in texts):
            raise InvalidRequest("A file id must be plain ASCII.", param="file_id")
        return tuple(text.decode("ascii") for text in texts)

    def whole(self, name: str, most: int, least: int = 1) -> int | None:
        """Return a field that is a whole number from `least` to `most`. Raises InvalidRequest."""
        text = self.text(name)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise InvalidRequest(f"`{name}` must be a whole number from {least} to {most}.", param=name)
        return int(text)

    def flag(self, name: str) -> bool:
        """Return a field that is true or false; False when it is not there. Raises InvalidRequest."""
        text = (self.text(name) or "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise InvalidRequest(f"`{name}` must be true or false.", param=name)
        return text in ("true", "1")

    def file(self, name: str) -> Part:
        """Return the one file of this name. Raises InvalidRequest."""
        found = self.named(name)
        if len(found) != 1 or not found[0].is_file:
            raise InvalidRequest(f"`{name}` must be one file, sent with a filename.", param=name)
        return found[0]

    def replaced(self, contents: Mapping[str, str]) -> bytes:
        """Return the body with other contents of some text fields; every other byte is kept."""
        body = self.body
        for part in reversed(self.parts):
            if part.name in contents:
                body = b"".join((body[: part.start], contents[part.name].encode(), body[part.end :]))
        return body


def read_form(body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Form:
    """Find the fields of a body. Raises InvalidRequest that says what is wrong."""
    if not body:
        raise InvalidRequest("The request body is empty; send multipart/form-data.")
    delimiter = b"--" + boundary_of(headers).encode()
    return Form(body, _parts(body, delimiter))


def reread(form: bytes) -> Form:
    """Find the fields of a body that `read_form` has taken before: it begins with its boundary."""
    return Form(form, _parts(form, form[: form.index(b"\r\n")]))


def boundary_of(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Return the boundary that the one Content-Type names. Raises InvalidRequest."""
    types = [value for name, value in headers if name == b"content-type"]
    if len(types) != 1 or not types[0].strip().lower().startswith(b"multipart/form-data"):
        raise InvalidRequest("Send this as a form: with Content-Type: multipart/form-data, once.")
    match = _CONTENT_TYPE.fullmatch(types[0].strip().decode("latin-1"))
    boundary = (match[1] or match[2]) if match else None
    if boundary is None or len(_BOUNDARY_PARAMETER.findall(types[0])) != 1:
        raise InvalidRequest("The Content-Type of a form must name one boundary of 1 to 70 plain characters.")
    return boundary


def _parts(body: bytes, delimiter: bytes) -> tuple[Part, ...]:
    if not body.startswith(delimiter + b"\r\n"):
        raise InvalidRequest("The form does not begin with the boundary that its Content-Type names.")
    parts: list[Part] = []
    mark = b"\r\n"
    at = len(delimiter) + 2
    while mark == b"\r\n":
        found = body.find(delimiter, at)
        if found < 0:
            raise InvalidRequest("The form has no end: its last boundary is missing.")
        # A reader that takes lone line feeds for line ends too would find a boundary where we find content.
        if found < at + 2 or body[found - 2 : found] != b"\r\n":
            raise InvalidRequest("The form's boundary stands inside one of its fields; choose another one.")
        if len(parts) == MOST_PARTS:
            raise InvalidRequest(f"The form has more than {MOST_PARTS} fields.")
        parts.append(_part(body, at, found - 2))
        at = found + len(delimiter) + 2
        mark = body[at - 2 : at]
    if mark != b"--" or body[at:] not in (b"", b"\r\n"):
        raise InvalidRequest("The form must end with its boundary and two hyphens, and nothing may stand behind them.")
    return tuple(parts)


def _part(body: bytes, at: int, end: int) -> Part:
    """Read the head of the field that lies from `at` to `end`."""
    head_end = body.find(b"\r\n\r\n", at, min(end, at + MOST_HEADER_BYTES))
    if head_end < 0:
        raise InvalidRequest(f"A field of the form has no head, or one of more than {MOST_HEADER_BYTES} bytes.")
    headers = _headers(body[at:head_end])
    disposition = _DISPOSITION.fullmatch(headers.pop(b"content-disposition", b"").strip())
    name = _NAME.fullmatch(disposition["quoted"] or disposition["bare"] or b"") if disposition else None
    if disposition is None or name is None:
        raise InvalidRequest(
            "Each field of the form needs one Content-Disposition: form-data with a name of plain letters, digits, "
            "underscores and brackets, and nothing beside it but a filename without quotes and backslashes."
        )
    if headers.pop(b"content-transfer-encoding", b"binary").strip().lower() not in _PLAIN_ENCODINGS:
        raise InvalidRequest("A field of the form is encoded; send it as it is, without Content-Transfer-Encoding.")
    if headers.pop(b"content-length", b"%d" % (end - head_end - 4)).strip() != b"%d" % (end - head_end - 4):
        raise InvalidRequest("A field of the form is not as long as its Content-Length.")
    return Part(
        name=name[1].decode(),
        brackets=name[2].decode(),
        is_file=disposition["file"] is not None or disposition["more"] is not None,
        is_text=_TEXT_TYPE.fullmatch(headers.get(b"content-type", b"text/plain").strip()) is not None,
        start=head_end + 4,
        end=end,
    )


def _headers(head: bytes) -> dict[bytes, bytes]:
    """Return a field's headers by their names in lower case."""
    headers: dict[bytes, bytes] = {}
    lines = head.split(b"\r\n")
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None or len(lines) > MOST_HEADERS:
            raise InvalidRequest("A field of the form has headers that are none, are folded, or are too many.")
        if match[1].lower() in headers:
            raise InvalidRequest("A field of the form has the same header twice.")
        headers[match[1].lower()] = match[2]
    return headers
