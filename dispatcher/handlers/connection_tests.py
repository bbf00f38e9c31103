"""A person asks whether a connection works: one harmless read call, its answer and its time in the event's timeline.

A refusal or an outage is the result of the test, so it ends the event and is no dead letter. A rejected token stops the destination, as it
does with every event: all others would fail alike. Nothing of what was read is kept.
"""

from collections.abc import Awaitable, Callable

from dispatcher.clients.accounts import location_of
from dispatcher.clients.google_accounts import user_of
from dispatcher.context import Context
from dispatcher.errors import RemoteError, Unauthorised
from dispatcher.outcome import Done, Outcome, Skipped
from outbox.event import Claimed


async def test_ghl(event: Claimed, ctx: Context) -> Outcome:
    """Reads one contact of the location."""
    ghl = await ctx.ghl_for(location_of(event))
    return await tested(ctx, lambda: ghl.search_contacts(page_limit=1))


async def test_notion(event: Claimed, ctx: Context) -> Outcome:
    """Reads whose the token is."""
    return await tested(ctx, ctx.notion.whoami)


async def test_phorest(event: Claimed, ctx: Context) -> Outcome:
    """Reads the branches."""
    return await tested(ctx, ctx.phorest.branches)


async def test_google(event: Claimed, ctx: Context) -> Outcome:
    """Reads one contact of the user."""
    return await tested(ctx, ctx.google_for(user_of(event)).one)


async def tested(ctx: Context, read: Callable[[], Awaitable[object]]) -> Outcome:
    """What becomes of an event that asks whether a connection works: `read` is the call. Also for destinations of your own."""

    async def call() -> bool:
        await read()
        return True

    try:
        await ctx.step("read", call, repeatable=True)
    except Unauthorised:
        raise
    except RemoteError as problem:
        return Skipped(f"the test failed: {problem}")
    return Done({"works": True, "took_ms": ctx.took_ms()})
