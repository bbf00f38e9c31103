"""The event of a sync's run: begins it or goes on with it, and writes down how it ended, in the transaction that settles the event.

returned        done         the watermark moves, unless hours_back left a gap behind it
Cancelled       cancelled    the event is skipped
NeedsPerson     braked       the event is skipped; releasing the brake stages another run
Unusable        failed       a dead letter, and the sync pauses itself
it follows ...  waiting      until the sync that it follows has succeeded once, where that is to be expected
refused, gone   failed       a dead letter; retried, it goes on at its checkpoint
anything else   waiting      as any event: held, limited, retried; a dead letter when that was in vain
"""

from collections.abc import Awaitable, Callable
from typing import Final

from dispatcher.clients.oauth import NotConnected
from dispatcher.clients.tally import Tally, tally
from dispatcher.context import Context
from dispatcher.errors import AnswerLost, Failed, Forbidden, Gone, Misused, RateLimited, Refused, RemoteError, Unavailable
from dispatcher.outcome import Dead, Done, Outcome, Retry, Settled, Skipped, Snooze, reason_of
from dispatcher.syncs.base import NeedsPerson, Sync, Unusable
from dispatcher.syncs.run import Cancelled, Run, Stopping, error_of
from outbox.db import Connection
from outbox.errors import DatabaseUnavailable, OwnershipLost
from outbox.event import Claimed
from outbox.store import runs, syncs
from outbox.store.runs import Category, RunState

FIRST_S: Final = 60.0  # so often a run looks whether the sync that it follows has succeeded


def handler(sync: Sync) -> Callable[[Claimed, Context], Awaitable[Outcome | Settled]]:
    """The handler of this sync's runs."""

    async def run_of_sync(event: Claimed, ctx: Context) -> Outcome | Settled:
        """Begin the run, or go on with it behind its last page, and write down how it ended."""
        async with ctx.part(is_progress=False) as connection:
            begun = await runs.begin(connection, event.id)
        if begun is None:
            return Skipped("no run is known under this event; ask for a new one")
        counted = Tally()
        tally.set(counted)
        run = Run(ctx, begun, counted)
        if begun.cancel_by is not None:
            return await _ended(run, RunState.CANCELLED, f"cancelled by {begun.cancel_by}", keeps_place=sync.keeps_place)
        is_default = run.account is None or sync.is_per_account  # an account beside the default one has a credential of its own
        if is_default and (off := sync.off(ctx.services)) is not None:
            return await _failed(run, off, None)
        if (first := _followed(sync, run)) is not None and await syncs.is_to_succeed(ctx.services.pool, first):
            why = f"{first} has to succeed once before this means anything"
            await _interrupted(run, why, None)
            return Snooze(FIRST_S, why)
        return await _carried_out(sync, run)

    return run_of_sync


def _followed(sync: Sync, run: Run) -> str | None:
    """The name of the sync that this one follows, for the same account."""
    if sync.follows is None or run.account is None:
        return sync.follows
    return f"{sync.follows}:{run.account}"


async def _carried_out(sync: Sync, run: Run) -> Outcome | Settled:
    try:
        await sync.run(run)
    except Cancelled as asked:
        return await _ended(run, RunState.CANCELLED, str(asked), keeps_place=sync.keeps_place)
    except NeedsPerson as brake:
        return await _ended(run, RunState.BRAKED, str(brake))
    except Stopping as stopping:
        await _interrupted(run, str(stopping), None)
        return Snooze(0, str(stopping))
    except Unusable as problem:
        return await _failed(run, str(problem), Category.VALIDATION, pauses=True)
    except (OwnershipLost, DatabaseUnavailable):
        raise
    except (Gone, Refused, Forbidden, Misused) as problem:
        return await _failed(run, str(problem), category_of(problem))
    except NotConnected as problem:
        return await _failed(run, str(problem), Category.API)
    except RemoteError as problem:
        await _interrupted(run, str(problem), category_of(problem))
        raise
    except Exception as problem:
        await _interrupted(run, f"{type(problem).__name__}: {problem}", Category.API)
        raise
    return await _done(run)


async def _done(run: Run) -> Settled:
    async with run.ctx.transaction() as tx:
        if not run.dry_run:
            swept = run.may_delete is not None and run.type == "full"
            await syncs.advance(tx.connection, run.sync, watermark=run.watermark, since=run.since, kept=run.kept, used_up=swept)
        await runs.forget_seen(tx.connection, run.id)
        await runs.keep(tx.connection, run.id, run.current(), state=RunState.DONE)
        return await tx.settle(Done(run.result()))


async def _ended(run: Run, state: RunState, why: str, *, keeps_place: bool = False) -> Settled:
    skipped, numbers = Skipped(why), run.current()
    if not keeps_place:
        numbers.checkpoint = None
    async with run.ctx.transaction() as tx:
        await runs.forget_seen(tx.connection, run.id)
        await runs.keep(tx.connection, run.id, numbers, state=state, reason=reason_of(skipped))
        return await tx.settle(skipped)


async def _failed(run: Run, why: str, category: Category | None, *, pauses: bool = False) -> Dead:
    """What it met stays: a dead letter that is retried goes on at the checkpoint."""
    dead = Dead(why)
    async with run.ctx.part(is_progress=False) as connection:
        if pauses:
            await syncs.pause(connection, run.sync, by=syncs.BY_ITSELF, why=reason_of(dead))
        await _noted(run, connection, RunState.FAILED, reason_of(dead), category)
    return dead


async def _interrupted(run: Run, why: str, category: Category | None) -> None:
    async with run.ctx.part(is_progress=False) as connection:
        await _noted(run, connection, RunState.WAITING, reason_of(Retry(why)), category)


async def _noted(run: Run, connection: Connection, state: RunState, why: str, category: Category | None) -> None:
    numbers = run.committed()
    if category is not None:
        numbers.errors_by = {**numbers.errors_by, category.value: numbers.errors_by.get(category, 0) + 1}
        if run.room_for_errors:
            await runs.log(connection, run.id, [error_of(category, None, why)])
    await runs.keep(connection, run.id, numbers, state=state, reason=why)


def category_of(problem: RemoteError) -> Category:
    """Under which word an error of the far side is counted."""
    match problem:
        case RateLimited():
            return Category.RATE_LIMIT
        case Unavailable() | AnswerLost():
            return Category.NETWORK
        case Refused() if problem.duplicate_of is not None or problem.status == 409:
            return Category.CONFLICT
        case Refused():
            return Category.VALIDATION
        case Failed() | _:
            return Category.API
