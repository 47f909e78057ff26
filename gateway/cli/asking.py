"""Administration as the data commands ask for it: the handlers of /v1/organization, and things by the names people use.

Where they run is another file's: `office.py` calls them on the database, `remote.py` asks a running gateway over HTTP.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from gateway.admin import api_keys, projects, service_accounts, users
from gateway.admin.boundary import AdminRequest
from gateway.admin.lists import HasId, ListOf
from gateway.cli.failures import CommandError, Exit
from gateway.core.errors import NotFound
from gateway.sources import SystemClock

T = TypeVar("T")
S = TypeVar("S", bound=HasId)
Handler = Callable[[AdminRequest[Any, Any]], Awaitable[T]]

PAGE_SIZE = 100


class Named(Protocol):
    """What can be found by its name."""

    @property
    def id(self) -> str:
        """The id."""

    @property
    def name(self) -> str:
        """The name, which need not be unique."""


N = TypeVar("N", bound=Named)


class Office(ABC):
    """Answers as administration does."""

    @abstractmethod
    async def ask(
        self,
        handler: Handler[T],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> T:
        """Return what a handler answers. None in query or body is left out. Raises GatewayError as over HTTP."""

    @property
    def now(self) -> int:
        """Unix seconds."""
        return int(SystemClock().now())

    async def list_all(
        self,
        handler: Handler[ListOf[S]],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
    ) -> list[S]:
        """Return a list's every page."""
        found: list[S] = []
        after: str | None = None
        while True:
            page = await self.ask(handler, path, query={**(query or {}), "limit": PAGE_SIZE, "after": after})
            found += page.data
            after = page.last_id
            if not page.has_more:
                return found

    async def project(self, text: str) -> projects.ProjectObject:
        """Return the project with this id or, among those that are not archived, this name."""
        if text.startswith("proj_"):
            return await self.ask(projects.retrieve_project, {"project_id": text})
        return _only("project", text, await self.list_all(projects.list_projects))

    async def user(self, text: str) -> users.UserObject:
        """Return the user with this id or e-mail."""
        if "@" not in text:
            return await self.ask(users.retrieve_user, {"user_id": text})
        found = (await self.ask(users.list_users, query={"emails": [text]})).data
        if not found:
            raise CommandError(f"There is no user with the e-mail {text}. Make one: gateway users create {text}")
        return found[0]

    async def service_account(self, project_id: str, text: str) -> service_accounts.ServiceAccountObject | None:
        """Return the project's service account with this id or name, None if there is none."""
        found = await self.list_all(service_accounts.list_service_accounts, {"project_id": project_id})
        named = [account for account in found if text in (account.id, account.name)]
        return _only("service account", text, named) if named else None

    async def project_of_key(self, id: str) -> str:
        """Return the id of the project that a key belongs to. Raises NotFound."""
        for project in await self.list_all(projects.list_projects, query={"include_archived": "true"}):
            try:
                await self.ask(api_keys.retrieve_api_key, {"project_id": project.id, "api_key_id": id})
            except NotFound:
                continue
            return project.id
        raise NotFound(f"There is no API key {id}.", code="not_found", param="api_key_id")


def present(values: Mapping[str, object] | None) -> dict[str, object]:
    """Leave out what is None."""
    return {name: value for name, value in (values or {}).items() if value is not None}


def _only(noun: str, text: str, among: Sequence[N]) -> N:
    found = [thing for thing in among if text in (thing.id, thing.name)]
    if not found:
        raise CommandError(f"There is no {noun} named {text}.")
    if len(found) > 1:
        ids = ", ".join(thing.id for thing in found)
        raise CommandError(f"Several are named {text}: say which by id: {ids}.", Exit.WRONG_USAGE)
    return found[0]
