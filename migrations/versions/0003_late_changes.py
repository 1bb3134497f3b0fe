"""How many changes a run found late, and how late."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds both columns to the history of runs."""
    op.add_column("run", sa.Column("late", sa.Integer, nullable=False, server_default="0"))
    op.add_column("run", sa.Column("late_seconds", sa.Float))
