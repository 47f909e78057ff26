"""Things that live at a provider and belong to who made them: stored responses, later files and batches."""

from sqlalchemy import Index, PrimaryKeyConstraint, Table

from gateway.store.tables import integer, metadata, text

provider_object = Table(
    "provider_object",
    metadata,
    text("upstream"),
    text("external_id"),
    text("project_id"),
    text("api_key_id"),
    text("kind"),
    integer("created_at"),
    PrimaryKeyConstraint("upstream", "external_id"),
    Index(None, "external_id"),
)
