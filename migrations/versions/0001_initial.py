"""The first form of the state database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates every table."""
    op.create_table(
        "contract",
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("acknowledged", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", INSTANT),
        sa.Column("http_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.Column("held_run", sa.Integer),
        sa.Column("in_doubt", INSTANT),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed_until", INSTANT),
        sa.Column("first_seen_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("acknowledged_at", INSTANT),
        sa.Column("gone_at", INSTANT),
        sa.PrimaryKeyConstraint("source_id", name="pk_contract"),
        sa.UniqueConstraint("reference", name="uq_contract_reference"),
    )
    _partial(
        "ix_contract_due", "next_attempt_at", "next_attempt_at IS NOT NULL AND claimed_by IS NULL"
    )
    _partial("ix_contract_status", "status", "status <> 'synced'")
    _partial("ix_contract_claimed", "claimed_by", "claimed_by IS NOT NULL")
    _create_watermark()
    _create_history()
    op.create_table(
        "control",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_control"),
    )


def _partial(name: str, column: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "contract", [column], sqlite_where=condition, postgresql_where=condition)


def _create_watermark() -> None:
    op.create_table(
        "watermark",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("type", sa.Text),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("moved_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_watermark"),
    )
    op.create_table(
        "watermark_move",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("from", sa.Text),
        sa.Column("to", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_watermark_move"),
    )


def _create_history() -> None:
    counts = ("rows", "changed", "created", "updated", "rejected")
    op.create_table(
        "run",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("started", INSTANT, nullable=False),
        sa.Column("finished", INSTANT),
        *(sa.Column(name, sa.Integer, nullable=False) for name in counts),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_index("ix_run_started", "run", ["started"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("http_status", sa.Integer),
        sa.Column("changed", sa.Text),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
    )
    op.create_index("ix_delivery_at", "delivery", ["at"])
    op.create_index("ix_delivery_source_id", "delivery", ["source_id"])
