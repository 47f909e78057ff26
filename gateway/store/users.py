"""Users: the people, and the projects they are members of."""

from sqlalchemy import Column, ForeignKey, PrimaryKeyConstraint, Table, Text

from gateway.store.tables import integer, metadata, text

user = Table(
    "user",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    text("name"),
    text("role"),
    integer("created_at"),
    integer("disabled", default=0),
    integer("deleted_at", null=True),
)

project_user = Table(
    "project_user",
    metadata,
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("user_id", Text, ForeignKey("user.id"), nullable=False),
    text("role"),
    integer("created_at"),
    PrimaryKeyConstraint("project_id", "user_id"),
)
