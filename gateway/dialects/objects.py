"""What lives at the provider, looked at and changed by its owner: one declaration per URL, and none is charged.

All callers share one account there. So what a path or a body names must be the caller's own, and lists are made from
our record of who made what: the provider's would show everybody's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl

import msgspec

from gateway.core.call import NOTHING, Call, Dialect, Head, Reading
from gateway.core.errors import InvalidRequest, NotFound
from gateway.core.ids import is_object_id
from gateway.core.listing import Listing
from gateway.dialects.json_body import decode
from gateway.dialects.openai import OPENAI
from gateway.dialects.references import NAMING, mentions_in, references_in

_QUERY = re.compile(r"[A-Za-z0-9_.%=&,\[\]+-]{0,1024}")
_bodies = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DECISIVE = tuple(f'"{name}"'.encode() for name in sorted(NAMING))


class Takes(Enum):
    """What a request has behind its head."""

    NOTHING = "nothing"
    JSON = "json"
    FORM = "form"


class Named(msgspec.Struct, gc=False):
    """Any object at the provider."""

    id: str | None = None


_named = msgspec.json.Decoder(Named)


def read_named(body: bytes) -> Reading:
    """Read which object an answer is."""
    try:
        return Reading(object_id=_named.decode(body).id)
    except (msgspec.MsgspecError, RecursionError):
        return NOTHING


def read_nothing(_body: bytes) -> Reading:
    """Read nothing: what the answer shows changes nothing here."""
    return NOTHING


@dataclass(frozen=True, slots=True)
class ObjectCall:
    """One operation on things at the provider.

    template  its path at the provider, with the parameters of ours
    owns      the parameters that must be the caller's own; the first of them names what `forgets` deletes
    makes     the kind of what the answer's object is from now on, "" for nothing new
    costs     the provider asks money for it that nobody can read from its answers
    read      what the answer tells, read_event what an event of a streamed answer does
    """

    operation: str
    method: str
    template: str
    owns: tuple[str, ...] = ()
    takes: Takes = Takes.NOTHING
    makes: str = ""
    forgets: bool = False
    costs: bool = False
    read: Callable[[bytes], Reading] = read_nothing
    read_events: Callable[[bytes], Reading] = read_nothing
    signs: Sequence[bytes] = ()
    dialect: Dialect = OPENAI

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL, with the client's query."""
        return call.target

    def about(self, object_id: str) -> Call:
        """Return the call that the owner of this one thing would make."""
        return self.parse(b"", Head({self.owns[0]: object_id}))

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises NotFound for an id that cannot exist, InvalidRequest."""
        references = self._checked(body, head)
        for object_id in head.parameters.values():
            if not is_object_id(object_id):
                raise NotFound(f"There is no `{object_id[:64]}` here.", code="not_found")
        query = head.query.decode("latin-1")
        if _QUERY.fullmatch(query) is None:
            raise InvalidRequest("The query has characters that do not belong there.")
        path = self.template.format(**head.parameters)
        return Call(
            operation=self.operation,
            model="",
            body=b"" if self.takes is Takes.NOTHING else body,
            output_cap=0,
            is_free=True,
            costs=self.costs,
            references=(*(head.parameters[name] for name in self.owns), *references),
            mentions=mentions_in(body, "items") if self.takes is Takes.JSON else (),
            makes=self.makes,
            forgets=self.forgets,
            target=f"{path}?{query}" if query else path,
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Send the client's own bytes."""
        del model, output_cap, cap_field, ask_usage
        return call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read what the operation's answers tell."""
        return self.read(body)

    def read_event(self, data: bytes) -> Reading:
        """Read one event, as above."""
        return self.read_events(data)

    def _checked(self, body: bytes, head: Head) -> tuple[str, ...]:
        """Return the ids that a JSON body names; the provider must read the same in it as we do."""
        if self.takes is Takes.FORM and not (body and _is_form(head)):
            raise InvalidRequest("Send this as a form: with Content-Type: multipart/form-data, once.")
        if self.takes is not Takes.JSON:
            return ()
        decode(body, _bodies, _DECISIVE)
        return references_in(body)


def _is_form(head: Head) -> bool:
    types = [value for name, value in head.headers if name == b"content-type"]
    return len(types) == 1 and types[0].lower().startswith(b"multipart/form-data")


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The list of the caller's own things of one kind, answered from our record of who made what."""

    operation: str
    kind: str
    most: int = 100
    default: int = 20
    method: str = "GET"
    signs: Sequence[bytes] = ()
    dialect: Dialect = OPENAI

    def path(self, call: Call) -> str:
        """Return nothing: the provider is not asked for its list."""
        del call
        return ""

    def parse(self, _body: bytes, head: Head, /) -> Call:
        """Read which page is asked for. Raises InvalidRequest."""
        asked = dict(parse_qsl(head.query.decode("latin-1"), keep_blank_values=True))
        listing = Listing(
            kind=self.kind,
            limit=self._limit(asked),
            descending=_order(asked) == "desc",
            after=asked.get("after") or None,
            before=asked.get("before") or None,
            purpose=asked.get("purpose") or None,
        )
        return Call(operation=self.operation, model="", body=b"", output_cap=0, is_free=True, listing=listing)

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Send nothing."""
        del call, model, output_cap, cap_field, ask_usage
        return b""

    def read_answer(self, body: bytes) -> Reading:
        """Read nothing: the answer is ours."""
        return read_nothing(body)

    def read_event(self, data: bytes) -> Reading:
        """Read nothing, as above."""
        return read_nothing(data)

    def _limit(self, asked: Mapping[str, str]) -> int:
        text = asked.get("limit") or str(self.default)
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= self.most:
            raise InvalidRequest(f"`limit` must be a whole number from 1 to {self.most}.", param="limit")
        return int(text)


def _order(asked: Mapping[str, str]) -> str:
    order = asked.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be asc or desc.", param="order")
    return order
