"""/v1/organization/projects/{project_id}/model_permissions: which models a project's keys may call.

They bind beside each key's own list. As there, names may have wildcards and cover a model by its alias too.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import ModelPattern
from gateway.admin.projects import PROJECT
from gateway.core.model_policy import Mode
from gateway.store import model_permissions
from gateway.store.engine import Connection
from gateway.store.model_permissions import ModelPermissions

PERMISSIONS = f"{PROJECT}/model_permissions"


class PermissionsObject(msgspec.Struct, frozen=True):
    """OpenAI's `project.model_permissions`."""

    mode: Mode
    model_ids: tuple[str, ...]
    object: str = "project.model_permissions"


class NewPermissions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What permissions are made of. An empty deny list permits everything, an empty allow list nothing."""

    mode: Mode
    model_ids: Annotated[tuple[ModelPattern, ...], Meta(max_length=500)]


class DeletedPermissions(msgspec.Struct, frozen=True):
    """What is answered when permissions were deleted: they have no id."""

    object: str = "project.model_permissions.deleted"
    deleted: bool = True


async def retrieve_permissions(request: AdminRequest[Nothing, Nothing]) -> PermissionsObject:
    """Show what a project permits."""
    return _show(await request.read(lambda connection: model_permissions.get(connection, request.path["project_id"])))


async def update_permissions(request: AdminRequest[Nothing, NewPermissions]) -> PermissionsObject:
    """Change what a project permits, for the next call on."""
    project_id = request.path["project_id"]
    wanted = ModelPermissions(request.body.mode, tuple(dict.fromkeys(request.body.model_ids)))

    def work(connection: Connection) -> Changed[ModelPermissions]:
        before = model_permissions.get(connection, project_id)
        model_permissions.put(connection, project_id, wanted)
        return _changed(wanted, project_id, before, wanted)

    return _show(await request.change("project.updated", work))


async def delete_permissions(request: AdminRequest[Nothing, Nothing]) -> DeletedPermissions:
    """Permit every model again."""
    project_id = request.path["project_id"]

    def work(connection: Connection) -> Changed[ModelPermissions]:
        before = model_permissions.get(connection, project_id)
        model_permissions.remove(connection, project_id)
        return _changed(before, project_id, before, model_permissions.UNSET)

    await request.change("project.updated", work)
    return DeletedPermissions()


def _changed(
    value: ModelPermissions, project_id: str, before: ModelPermissions, after: ModelPermissions
) -> Changed[ModelPermissions]:
    return Changed(value, project_id, {"model_permissions": before}, {"model_permissions": after}, project_id)


def _show(permissions: ModelPermissions) -> PermissionsObject:
    return PermissionsObject(permissions.mode, permissions.model_ids)


ROUTES = (
    AdminRoute("GET", PERMISSIONS, retrieve_permissions, Access.READER, Nothing, Nothing),
    AdminRoute("POST", PERMISSIONS, update_permissions, Access.OWNER, Nothing, NewPermissions),
    AdminRoute("DELETE", PERMISSIONS, delete_permissions, Access.OWNER, Nothing, Nothing),
)
