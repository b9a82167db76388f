"""What a mail says inside its encryption about the receipt that it wants."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; mails that are here already asked for nothing."""
    column = sa.Column("receipt_request", sa.String(), nullable=False, server_default="")
    op.add_column("arrival", column)
