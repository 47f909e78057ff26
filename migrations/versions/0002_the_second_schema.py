"""The second schema: pictures, sound and text, permitted models, jobs, spend alerts, retention; who changed what."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Expand only: the code before this one must go on working. Constant defaults rewrite no row."""
    _measure_pictures_sound_and_text()
    _find_spans()
    _say_more_of_holds()
    _say_more_of_changes()
    _guard_the_audit_log()
    _show_files()
    _permit_models()
    _keep_jobs()
    _forget_records()
    _alert()
    _say_whom_the_schema_serves()


def _measure_pictures_sound_and_text() -> None:
    """Add milliseconds, characters and sizes, beside tokens."""
    for table in ("usage", "usage_hour", "usage_day"):
        for name in ("audio_ms", "characters"):
            op.add_column(table, _integer(name, default=0))
    op.add_column("usage", sa.Column("image_size", sa.Text(), nullable=True))
    # Sizes are no part of the rollups' key, so reports by size read the records: few enough with this.
    has_size = sa.text("image_size IS NOT NULL")
    op.create_index(
        "ix_usage_image_size", "usage", ["admitted_at_us"], sqlite_where=has_size, postgresql_where=has_size
    )


def _find_spans() -> None:
    """Find the rollups of a span of time on PostgreSQL without reading all that ever were.

    SQLite keeps rollups in the order of their time anyway.
    """
    if op.get_context().dialect.name == "postgresql":
        for table in ("usage_hour", "usage_day"):
            op.create_index(
                op.f(f"ix_{table}_span"),
                table,
                ["start"],
                postgresql_using="brin",
                postgresql_with={"pages_per_range": 16},
            )


def _say_more_of_holds() -> None:
    """Add what pictures and sound cost beside tokens, and whether the call is a batch, for sweeps.

    The code before this one writes holds without a fee, of calls that have none, and of no batches. Open holds are few
    enough to look through: an index of their owners cost every call two writes and served sweeps.
    """
    for name in ("fee_nano_usd", "batch"):
        op.add_column("hold", _integer(name, default=0))
    op.drop_index("ix_hold_owner", "hold")


def _say_more_of_changes() -> None:
    """Add who an actor was and what was changed, in columns of the audit log that lists can be filtered by."""
    op.add_column("audit_log", sa.Column("actor_name", sa.Text(), nullable=True))
    op.add_column("audit_log", sa.Column("resource_id", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("UPDATE audit_log SET resource_id = detail::json ->> 'id'")
    else:
        op.execute("UPDATE audit_log SET resource_id = json_extract(detail, '$.id')")
    for column in ("actor", "project_id", "resource_id"):
        op.create_index(op.f(f"ix_audit_log_{column}_effective_at"), "audit_log", [column, "effective_at"])
    op.add_column("admin_api_key", _integer("last_used_at", null=True))


def _guard_the_audit_log() -> None:
    """Let nothing be deleted from the log, nor changed of what was done, when and by whom.

    SQLite forgets the triggers of a table that a later migration makes anew.
    """
    stays = "BEFORE UPDATE OF id, effective_at, type, project_id, actor, request_id, resource_id ON audit_log"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_audit_log() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END'"
        )
        refuse = "FOR EACH ROW EXECUTE FUNCTION refuse_audit_log()"
        op.execute(
            "CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_log()"
        )
    else:
        refuse = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    op.execute(f"CREATE TRIGGER audit_log_stays {stays} {refuse}")
    op.execute(f"CREATE TRIGGER audit_log_keeps BEFORE DELETE ON audit_log {refuse}")


def _show_files() -> None:
    """Add how a provider shows what it keeps, for lists that are made from our record of who made what.

    What the code before this one notes has nothing to show, and is asked for when it is listed.
    """
    op.add_column("provider_object", sa.Column("shown", sa.Text(), nullable=True))
    op.create_index(
        op.f("ix_provider_object_api_key_id_kind_created_at_external_id"),
        "provider_object",
        ["api_key_id", "kind", "created_at", "external_id"],
    )


def _permit_models() -> None:
    op.create_table(
        "model_permissions",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("model_ids", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_model_permissions_project_id")),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_model_permissions")),
    )


def _keep_jobs() -> None:
    """The code before this one may sweep the hold that a job keeps; the job's end then corrects that."""
    op.create_table(
        "job",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        _integer("looks", default=0),
        _integer("due_at_us"),
        _integer("ends_at_us"),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_job")),
    )
    op.create_index(op.f("ix_job_upstream_external_id"), "job", ["upstream", "external_id"])
    op.create_index(op.f("ix_job_due_at_us"), "job", ["due_at_us"])


def _forget_records() -> None:
    """Say since when every usage record is still there: older ones are forgotten, their sums stay."""
    op.create_table(
        "retention",
        sa.Column("id", sa.Integer(), nullable=False),
        _integer("kept_since"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention")),
    )


def _alert() -> None:
    """Say whom to tell when a month's cost reaches an amount, and what is on its way to them."""
    op.create_table(
        "spend_alert",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text(), nullable=False),
        _integer("threshold_nano_usd"),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("subject_prefix", sa.Text(), nullable=True),
        _integer("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spend_alert")),
    )
    op.create_index(op.f("ix_spend_alert_scope_scope_id"), "spend_alert", ["scope", "scope_id"])
    op.create_table(
        "notice",
        sa.Column("subject_id", sa.Text(), nullable=False),
        _integer("step"),
        _integer("period_start"),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        _integer("created_at"),
        _integer("due_at"),
        _integer("attempts"),
        _integer("ended_at", null=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("subject_id", "step", "period_start", "channel", name=op.f("pk_notice")),
    )
    op.create_index(op.f("ix_notice_ended_at_due_at"), "notice", ["ended_at", "due_at"])


def _say_whom_the_schema_serves() -> None:
    """A row that a migration changes only when it takes something away.

    The code before this one never looks here; it would overlook a project's denied models.
    """
    op.create_table(
        "compatibility",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("oldest_code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compatibility")),
    )
    op.execute("INSERT INTO compatibility (id, oldest_code) VALUES (1, '0002')")


def _integer(name: str, *, null: bool = False, default: int | None = None) -> sa.Column[int]:
    """A 64-bit integer column; `default` is the server's."""
    server_default = None if default is None else str(default)
    return sa.Column(name, sa.BigInteger(), server_default=server_default, autoincrement=False, nullable=null)
