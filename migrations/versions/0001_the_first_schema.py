"""The first schema: people and keys, limits, the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Expand only: the code before this one must go on working."""
    op.create_table(
        "admin_api_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("redacted", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admin_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_admin_api_key_digest")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_effective_at"), "audit_log", ["effective_at"])

    op.create_table(
        "hold",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("admitted_at_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("service_account_id", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("requested_model", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_rate", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_rate", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("delivered", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_hold")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_hold_owner"), "hold", ["owner"])

    op.create_table(
        "hold_item",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("limit_id", sa.Text(), nullable=False),
        sa.Column("period_start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "limit_id", "period_start", name=op.f("pk_hold_item")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "limit",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_limit")),
    )
    op.create_index(op.f("ix_limit_scope_scope_id"), "limit", ["scope", "scope_id"])

    op.create_table(
        "owner",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("beat_at_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owner")),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("archived_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
    )
    op.create_table(
        "provider_object",
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("upstream", "external_id", name=op.f("pk_provider_object")),
    )
    op.create_index(op.f("ix_provider_object_external_id"), "provider_object", ["external_id"])

    op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision")),
    )
    op.create_table(
        "usage",
        sa.Column("admitted_at_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("settled_at_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("service_account_id", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("requested_model", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("service_tier", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("succeeded", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cache_write_1h_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_audio_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_image_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_audio_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("images", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("upstream_cost_nano_usd", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("rates", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_byte_ms", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("client_request_id", sa.Text(), nullable=True),
        sa.Column("upstream_request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("admitted_at_us", "request_id", "entry", name=op.f("pk_usage")),
        postgresql_partition_by="RANGE (admitted_at_us)",
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        # Months get partitions of their own at run time; this one takes what has none, so that no settlement fails.
        op.execute("CREATE TABLE usage_default PARTITION OF usage DEFAULT")
    op.create_index(op.f("ix_usage_api_key_id_admitted_at_us"), "usage", ["api_key_id", "admitted_at_us"])

    op.create_table(
        "usage_day",
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("service_tier", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("succeeded", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_audio_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_image_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_audio_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("images", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("unpriced_requests", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("service_account_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "start", "operation", "model", "api_key_id", "service_tier", "batch", name=op.f("pk_usage_day")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_usage_day_api_key_id_start"), "usage_day", ["api_key_id", "start"])

    op.create_table(
        "usage_hour",
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("service_tier", sa.Text(), nullable=False),
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("succeeded", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_audio_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("input_image_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("output_audio_tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("images", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("unpriced_requests", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("service_account_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "start", "operation", "model", "api_key_id", "service_tier", "batch", name=op.f("pk_usage_hour")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_usage_hour_api_key_id_start"), "usage_hour", ["api_key_id", "start"])

    op.create_table(
        "user",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("disabled", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("email", name=op.f("uq_user_email")),
    )
    op.create_table(
        "counter",
        sa.Column("limit_id", sa.Text(), nullable=False),
        sa.Column("period_start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("used", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("held", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["limit_id"], ["limit.id"], name=op.f("fk_counter_limit_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("limit_id", "period_start", name=op.f("pk_counter")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "project_user",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_project_user_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_project_user_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_project_user")),
    )
    op.create_table(
        "service_account",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_service_account_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_account")),
    )
    op.create_index(op.f("ix_service_account_project_id"), "service_account", ["project_id"])

    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("service_account_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("last_four", sa.Text(), nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("disabled", sa.BigInteger(), server_default="0", autoincrement=False, nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.CheckConstraint("(user_id IS NULL) <> (service_account_id IS NULL)", name="one_holder"),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_api_key_project_id")),
        sa.ForeignKeyConstraint(
            ["service_account_id"], ["service_account.id"], name=op.f("fk_api_key_service_account_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_key_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
    )
    op.create_index(op.f("ix_api_key_project_id"), "api_key", ["project_id"])
    op.create_index(op.f("ix_api_key_user_id"), "api_key", ["user_id"])

    op.create_table(
        "api_key_secret",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_key.id"], name=op.f("fk_api_key_secret_api_key_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_api_key_secret")),
    )
    op.create_index(op.f("ix_api_key_secret_api_key_id"), "api_key_secret", ["api_key_id"])
    op.execute("INSERT INTO revision (id, value) VALUES (1, 1)")
