"""/v1/organization/audit_logs: who changed what, and who was not let in, the newest first.

Each event has OpenAI's payload under its type, and beside it what is ours: the address, the request, and the object's
values before and after.
"""

from dataclasses import replace
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from gateway.admin.audit_types import TENANT_ONLY, TYPES
from gateway.admin.boundary import Access, AdminRequest, AdminRoute
from gateway.admin.decoding import Nothing
from gateway.admin.fields import Email, Id
from gateway.admin.lists import BothWays, ListOf, listed
from gateway.core.errors import InvalidRequest
from gateway.store import audit_log
from gateway.store.audit_log import COMMAND_LINE, Actor, Detail, EventType, Filter, Recorded
from gateway.store.pages import Page

Moment = Annotated[int, Meta(ge=0, le=32_503_680_000)]
"""Unix seconds up to the year 3000."""
Ids = Annotated[tuple[Id, ...], Meta(max_length=100)]
Payload = dict[str, Any]
_FIELDS: dict[str, str] = {type: type.replace(".", "_") for type in get_args(EventType)}
_NAMES = {field: type for type, field in _FIELDS.items()}


class ListEvents(BothWays, frozen=True, forbid_unknown_fields=True, rename={
    "after_moment": "effective_at[gt]", "from_moment": "effective_at[gte]",
    "before_moment": "effective_at[lt]", "until_moment": "effective_at[lte]",
}):  # fmt: skip
    """The query of the list."""

    actor_ids: Ids | None = None
    actor_emails: Annotated[tuple[Email, ...], Meta(max_length=100)] | None = None
    event_types: Annotated[tuple[str, ...], Meta(max_length=200)] | None = None
    project_ids: Ids | None = None
    resource_ids: Ids | None = None
    tenant_only: bool = False
    after_moment: Moment | None = None
    from_moment: Moment | None = None
    before_moment: Moment | None = None
    until_moment: Moment | None = None


class ActingKey(msgspec.Struct, frozen=True):
    """The admin key that did it; `name` is ours."""

    id: str
    name: str | None


class Session(msgspec.Struct, frozen=True):
    """Where somebody without a key came from."""

    ip_address: str | None


class ActorObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of the two is there."""

    type: str
    api_key: ActingKey | None = None
    session: Session | None = None


class EventProject(msgspec.Struct, frozen=True):
    """The project that an event belongs to, by its present name."""

    id: str
    name: str | None


class AuditEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename=_NAMES):
    """OpenAI's `organization.audit_log`. What is null is left out; the last fields are its payload by its type."""

    id: str
    object: str
    type: str
    effective_at: int
    actor: ActorObject
    project: EventProject | None = None
    ip_address: str | None = None
    request_id: str | None = None
    resource_id: str | None = None
    before: Any = None
    after: Any = None
    api_key_created: Payload | None = None
    api_key_deleted: Payload | None = None
    api_key_updated: Payload | None = None
    login_failed: Payload | None = None
    organization_updated: Payload | None = None
    project_archived: Payload | None = None
    project_created: Payload | None = None
    project_updated: Payload | None = None
    rate_limit_updated: Payload | None = None
    service_account_created: Payload | None = None
    service_account_deleted: Payload | None = None
    service_account_updated: Payload | None = None
    tenant_admin_api_key_created: Payload | None = None
    tenant_admin_api_key_deleted: Payload | None = None
    user_added: Payload | None = None
    user_deleted: Payload | None = None
    user_updated: Payload | None = None


async def list_events(request: AdminRequest[ListEvents, Nothing]) -> ListOf[AuditEvent]:
    """List events, the newest first."""
    query = request.query
    if query.actor_emails:
        # Actors are keys, which have no e-mail here.
        return listed(Page((), False), _show)
    cursor = replace(query.cursor, descending=True)
    wanted = Filter(query.actor_ids, _types(query), query.project_ids, query.resource_ids, *_range(query))
    return listed(await request.read(lambda connection: audit_log.page(connection, cursor, wanted)), _show)


def _types(query: ListEvents) -> tuple[str, ...] | None:
    """Return the wanted types, None for all. Raises InvalidRequest for one that OpenAI does not know."""
    for place, name in enumerate(query.event_types or ()):
        if name not in TYPES or (query.tenant_only and name not in TENANT_ONLY):
            what = "an event that belongs to a tenant" if query.tenant_only else "a type of audit events"
            param = f"event_types[{place}]"
            raise InvalidRequest(f"`{param}`: {name[:100]!r} is not {what}.", param=param, code="invalid_value")
    if query.event_types is not None:
        return query.event_types
    return tuple(TENANT_ONLY) if query.tenant_only else None


def _range(query: ListEvents) -> tuple[int | None, int | None]:
    """Return the first second that is wanted and the first that is not any more."""
    starts = [query.from_moment, None if query.after_moment is None else query.after_moment + 1]
    ends = [query.before_moment, None if query.until_moment is None else query.until_moment + 1]
    return (
        max((start for start in starts if start is not None), default=None),
        min((end for end in ends if end is not None), default=None),
    )


def _show(recorded: Recorded) -> AuditEvent:
    event = recorded.event
    payload = {_FIELDS[event.type]: _payload(event.type, event.detail, event.effective_at)}
    return AuditEvent(
        id=event.id,
        object="organization.audit_log",
        type=event.type,
        effective_at=event.effective_at,
        actor=_actor(event.actor),
        project=None if event.project_id is None else EventProject(event.project_id, recorded.project_name),
        ip_address=event.actor.address,
        request_id=event.request_id,
        resource_id=event.detail.id or None,
        before=event.detail.before,
        after=event.detail.after,
        **payload,
    )


def _actor(actor: Actor) -> ActorObject:
    if actor.id and actor.id != COMMAND_LINE.id:
        return ActorObject("api_key", api_key=ActingKey(actor.id, actor.name))
    return ActorObject("session", session=Session(actor.address))


def _payload(type: EventType, detail: Detail, effective_at: int) -> Payload:
    """Return what OpenAI's event says: what a thing was made of, or what was asked to change of it."""
    before = detail.before if isinstance(detail.before, dict) else {}
    after = detail.after if isinstance(detail.after, dict) else {}
    match type.rpartition(".")[2]:
        case "failed":
            return after
        case "created" | "added":
            titled = {"title": after.get("name")} if type == "project.created" else {}
            return {"id": detail.id, "data": {**after, **titled}}
        case "updated":
            changes = {name: value for name, value in after.items() if before.get(name) != value}
            if type == "project.updated" and "name" in changes:
                changes["title"] = changes["name"]
            if isinstance(changes.get("expires_at"), int):
                changes["expires_in_seconds"] = changes["expires_at"] - effective_at
            return {"id": detail.id, "changes_requested": changes}
        case _:
            return {"id": detail.id}


ROUTES = (AdminRoute("GET", "/v1/organization/audit_logs", list_events, Access.READER, ListEvents, Nothing),)
