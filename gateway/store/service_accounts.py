"""Service accounts: the programs."""

from sqlalchemy import Column, ForeignKey, Index, Table, Text

from gateway.store.tables import integer, metadata, text

service_account = Table(
    "service_account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    text("name"),
    text("role"),
    integer("created_at"),
    integer("deleted_at", null=True),
    Index(None, "project_id"),
)
