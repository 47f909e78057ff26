"""/v1/organization/openapi.json: administration described by itself, from the route table and the types of the routes.

OpenAPI 3.1. Nothing is written twice: parameters are the fields of the query's type, bodies and answers the schemas of
theirs, summaries the first lines of the handlers' docstrings.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from inspect import getdoc
from typing import Any, Literal

import msgspec
from starlette.responses import Response

from gateway.admin.boundary import Access, AdminRequest, AdminRoute
from gateway.admin.decoding import Nothing
from gateway.admin.spreadsheets import is_tabular

PATH = "/v1/organization/openapi.json"
Json = dict[str, Any]
ROLES: Mapping[Access, str] = {
    Access.OWNER: "With an owner's admin key.",
    Access.READER: "With an admin key, a reader's or an owner's.",
    Access.OWN: "With an admin key, or with a member's key, which sees its own alone.",
}
_TEMPLATE = "#/components/schemas/{name}"
_NOT_A_WORD = re.compile(r"\W+")
_PARAMETER = re.compile(r"\{(\w+)\}")
_ID_SCHEMA: Json = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"}
_FORMAT: Json = {
    "name": "format", "in": "query", "schema": {"enum": ["json", "csv"]},
    "description": "CSV also comes for `Accept: text/csv`, with all pages where `limit` is not given.",
}  # fmt: skip


class ErrorDetail(msgspec.Struct):
    """What was wrong: for a person, and for a program."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    """Every error."""

    error: ErrorDetail


class Document(msgspec.Struct):
    """The part of an OpenAPI document that readers look at first."""

    openapi: Literal["3.1.0"]
    info: dict[str, str]
    paths: dict[str, dict[str, msgspec.Raw]]


def route(described: Sequence[AdminRoute[Any, Any]]) -> AdminRoute[Nothing, Nothing]:
    """Return the route that describes these and itself."""

    async def describe(_request: AdminRequest[Nothing, Nothing]) -> Response:
        """Describe administration as an OpenAPI document."""
        return Response(await asyncio.to_thread(encoded), media_type="application/json")

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(document([*described, own]))

    own = AdminRoute("GET", PATH, describe, Access.READER, Nothing, Nothing, answer=Document)
    return own


def document(routes: Iterable[AdminRoute[Any, Any]]) -> Json:
    """Return the OpenAPI document of these routes."""
    routes = list(routes)
    types = {ErrorBody, *(part for route in routes for part in (route.query, route.body, route.answers))}
    ordered = sorted(types, key=str)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_TEMPLATE)
    by_type = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type, components)
    queries = {_name(by_type[route.query]) for route in routes}
    kept = {name: schema for name, schema in components.items() if name not in queries}
    made: Json = _portable(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Administration of the gateway",
                "version": "1",
                "description": "OpenAI's Administration API, and what is the gateway's own beside it.",
            },
            "security": [{"key": []}],
            "paths": paths,
            "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": kept},
        }
    )
    return made


def _operation(route: AdminRoute[Any, Any], schemas: Mapping[object, Json], components: Json) -> Json:
    fields = components[_name(schemas[route.query])]
    operation: Json = {
        "operationId": route.method.lower() + _NOT_A_WORD.sub("_", route.path.removeprefix("/v1/organization")),
        "summary": _summary(route),
        "description": ROLES[route.access],
        "tags": [_tag(route.path)],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _ID_SCHEMA}
              for name in _PARAMETER.findall(route.path)),
            *_query_parameters(fields),
            *([_FORMAT] if is_tabular(route.answers) else []),
        ],
        "responses": _responses(route, schemas),
    }  # fmt: skip
    if route.body is not Nothing:
        schema = schemas[route.body]
        required = bool(components[_name(schema)].get("required"))
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    return operation


def _summary(route: AdminRoute[Any, Any]) -> str:
    """Return the first line of the handler's docstring; one that serves several paths says which this is."""
    several = isinstance(route.handler, partial)
    told = getdoc(route.handler.func if isinstance(route.handler, partial) else route.handler) or ""
    line = told.partition("\n")[0]
    return f"{route.path.rpartition('/')[2]}: {line}" if several else line


def _query_parameters(fields: Json) -> list[Json]:
    """Return a parameter per field of a query; arrays repeat their name, with or without `[]`."""
    required = fields.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _sent(schema)}
        for name, schema in fields.get("properties", {}).items()
    ]


def _sent(schema: Json) -> Json:
    """Return the schema of what stands in a query string, where nothing is null."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    if "anyOf" not in schema:
        return rest
    return rest | (options[0] if len(options) == 1 else {"anyOf": options})


def _responses(route: AdminRoute[Any, Any], schemas: Mapping[object, Json]) -> Json:
    content: Json = {"application/json": {"schema": schemas[route.answers]}}
    if is_tabular(route.answers):
        content["text/csv"] = {"schema": {"type": "string"}}
    error = {"content": {"application/json": {"schema": schemas[ErrorBody]}}}
    return {
        "200": {"description": "Done.", "content": content},
        "4XX": {"description": "What was asked for cannot be; the error names it.", **error},
        "5XX": {"description": "The gateway cannot, at the moment or at all.", **error},
    }


def _name(schema: Json) -> str:
    """Return the component that a schema refers to."""
    return str(schema["$ref"]).rpartition("/")[2]


def _tag(path: str) -> str:
    """Return the noun of a path: of a project's things theirs, else the first below /v1/organization."""
    words = [word for word in path.split("/")[3:] if not word.startswith("{")]
    return words[1] if words[0] == "projects" and len(words) > 1 else words[0]


def _portable(schema: Any) -> Any:
    r"""Say in patterns what other languages understand too: their `$` does not look past a last newline, as \Z."""
    match schema:
        case dict():
            return {
                name: value.replace("\\Z", "$") if name == "pattern" and isinstance(value, str) else _portable(value)
                for name, value in schema.items()
            }
        case list() | tuple():
            return [_portable(part) for part in schema]
        case _:
            return schema
