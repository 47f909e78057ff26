"""What limits and alerts can bind: whether it is there, and whether its project has not been archived."""

from sqlalchemy import ColumnElement, Connection, select

from gateway.core.errors import Conflict, NotFound
from gateway.core.limits import Scope
from gateway.store.api_keys import api_key
from gateway.store.limits import ORGANIZATION_ID
from gateway.store.projects import project
from gateway.store.service_accounts import service_account
from gateway.store.users import user


def require(connection: Connection, scope: Scope, scope_id: str) -> None:
    """Raises NotFound for what is not there or was deleted, Conflict for what belongs to an archived project."""
    if not _is_there(connection, scope, scope_id):
        raise NotFound(f"There is no {scope.replace('_', ' ')} {scope_id}.", code="not_found", param="scope_id")
    require_unarchived(connection, scope, scope_id)


def require_unarchived(connection: Connection, scope: Scope, scope_id: str) -> None:
    """Raises Conflict for a project that is archived and for what belongs to one."""
    query = select(project.c.id).where(project.c.archived_at.is_not(None))
    match scope:
        case Scope.ORGANIZATION | Scope.USER:
            return
        case Scope.PROJECT:
            query = query.where(project.c.id == scope_id)
        case Scope.SERVICE_ACCOUNT:
            query = query.join(service_account, service_account.c.project_id == project.c.id)
            query = query.where(service_account.c.id == scope_id)
        case Scope.API_KEY:
            query = query.join(api_key, api_key.c.project_id == project.c.id).where(api_key.c.id == scope_id)
    archived = connection.execute(query).scalar_one_or_none()
    if archived is not None:
        raise Conflict(
            f"Project {archived} is archived and cannot be changed.", code="project_archived", param="scope_id"
        )


def _is_there(connection: Connection, scope: Scope, scope_id: str) -> bool:
    found: ColumnElement[bool]
    match scope:
        case Scope.ORGANIZATION:
            return scope_id == ORGANIZATION_ID
        case Scope.PROJECT:
            found = project.c.id == scope_id
        case Scope.USER:
            found = (user.c.id == scope_id) & user.c.deleted_at.is_(None)
        case Scope.SERVICE_ACCOUNT:
            found = (service_account.c.id == scope_id) & service_account.c.deleted_at.is_(None)
        case Scope.API_KEY:
            found = (api_key.c.id == scope_id) & api_key.c.deleted_at.is_(None)
    return bool(connection.execute(select(select(1).where(found).exists())).scalar_one())
