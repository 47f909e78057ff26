"""Projects: the teams."""

from sqlalchemy import Column, Table, Text

from gateway.store.tables import integer, metadata, text

project = Table(
    "project",
    metadata,
    Column("id", Text, primary_key=True),
    text("name"),
    integer("created_at"),
    integer("archived_at", null=True),
)
