"""Users whose Google contacts are known, for tests of the API: a consent as its handler ends it, and contacts as a run leaves them."""

from datetime import UTC, datetime

from outbox.store import connections, events, google_contacts, google_users
from outbox.store.google_contacts import GoogleContact
from outbox.testing import Postroom


async def consent(postroom: Postroom) -> int:
    """As the handler of a code does. Returns the version of the pair."""
    async with postroom.pool.acquire() as connection, connection.transaction():
        version = await connections.connect(
            connection, "google:ada", provider="google", account="ada", sealed=b"sealed", expires_in_s=60, at=datetime.now(UTC)
        )
        await google_users.connected(connection, "ada", now=await events.clock(connection))
    return version


async def keep_contacts(postroom: Postroom, *names: str) -> None:
    async with postroom.pool.acquire() as connection, connection.transaction():
        for user in ("ada", "brendan"):
            await google_users.save(connection, user, enabled=False, now=datetime.now(UTC), by="otto")
            kept = [GoogleContact(name, display_name=name.title(), emails=(f"{name}@example.com",)) for name in names]
            await google_contacts.apply(connection, user, kept, imports=False)
