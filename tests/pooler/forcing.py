"""Connection strings that say of a plain Postgres that a transaction pooler is before it: the same code as behind one, and no PgBouncer."""

from outbox.testing import Postroom


def forced(dsn: str) -> str:
    """As `pgbouncer=true` does for an operator."""
    return f"{dsn}&pgbouncer=true"


def pooled(postroom: Postroom) -> Postroom:
    """The test's database as its processes see it; its rows are looked at without a pooler."""
    return Postroom(forced(postroom.dsn), postroom.pool)
