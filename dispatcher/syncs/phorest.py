"""The syncs of Phorest: phase one of all it has, each with its own cron. What changed goes to GHL as events of its own.

    phorest-clients       every 2 h at :02       changed since the watermark; full: all
    phorest-appointments  every 10 min at :05    changed since, in the months of the horizon; full: a horizon twice as wide
    phorest-bookings      every 2 h at :35       the same appointments, by the booking they belong to
    phorest-checkins      every 30 min at :08    yesterday's and today's appointments whose client has come
    phorest-loyalty       every 12 h at :45      all cards: points move without the client's time of change
    phorest-staff 06:30   phorest-products 05:15

An appointment that was moved out of the horizon is seen by the full run only. The first run of each, without a watermark, is the
initial import: killed it goes on at its page, and cancelled when it is replayed.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from dispatcher.clients.answer import text
from dispatcher.context import Services
from dispatcher.handlers import phorest_reading as reading
from dispatcher.syncs import phorest_walk as walks
from dispatcher.syncs.base import Default, RunType, Sync, Unusable
from dispatcher.syncs.run import Run
from outbox.cadence import Cron
from outbox.store.schedules import CatchUp

OVERLAP: Final = timedelta(minutes=2)
WIDER: Final = 2


def since_of(run: Run) -> datetime | None:
    """From when on changes are asked for; None: all."""
    return None if run.type == RunType.FULL or run.since is None else run.since - OVERLAP


async def check_branches(run: Run) -> None:
    """Raises Unusable for a branch that the business has not: it would be taken for one in which nothing happens."""
    page = await run.ctx.phorest.branches()
    missing = sorted(set(run.ctx.settings.phorest_zones()) - {text(row.get("branchId")) for row in page.rows})
    if missing and page.is_last:
        raise Unusable(f"the business at Phorest has no branch {', '.join(missing)}: correct PHOREST_BRANCHES")


async def pull_clients(run: Run) -> None:
    """Clients, deleted, archived and merged ones among them."""
    legs = walks.client_legs(run.ctx.phorest, since=since_of(run), read=reading.client)
    await walks.walk(run, legs, walks.import_records)


async def pull_appointments(run: Run) -> None:
    """Appointments of all branches."""
    await check_branches(run)
    await walks.walk(run, _appointments(run), walks.import_records)


async def pull_bookings(run: Run) -> None:
    """Bookings of all branches, from their appointments."""
    await check_branches(run)
    await walks.walk(run, _appointments(run), walks.import_bookings)


def _appointments(run: Run) -> list[walks.Leg]:
    days = walks.horizon(run.ctx.settings, run.until, wider=WIDER if run.type == RunType.FULL else 1)
    return walks.appointment_legs(run.ctx.phorest, run.ctx.settings, *days, since=since_of(run))


async def pull_checkins(run: Run) -> None:
    """Who has come, yesterday and today: a day of a branch begins up to half a day before UTC's."""
    await check_branches(run)
    day = run.until.date()
    days = (day - timedelta(days=1), day + timedelta(days=1))
    legs = walks.appointment_legs(run.ctx.phorest, run.ctx.settings, *days, since=None, checkins=True)
    await walks.walk(run, legs, walks.import_records)


async def pull_loyalty(run: Run) -> None:
    """The points of all clients."""
    await walks.walk(run, walks.client_legs(run.ctx.phorest, since=None, read=reading.loyalty), walks.import_records)


async def pull_staff(run: Run) -> None:
    """The staff of all branches."""
    await check_branches(run)
    await walks.walk(
        run, walks.branch_legs(run.ctx.settings, "staff", "staffId", run.ctx.phorest.staff, reading.staff), walks.import_records
    )


async def pull_products(run: Run) -> None:
    """The products of all branches."""
    await check_branches(run)
    legs = walks.branch_legs(run.ctx.settings, "products", "productId", run.ctx.phorest.products, reading.product)
    await walks.walk(run, legs, walks.import_records)


def off(services: Services) -> str | None:
    """What is not set, by name."""
    settings = services.settings
    named = {
        "PHOREST_USERNAME": settings.phorest_username,
        "PHOREST_PASSWORD": settings.phorest_password,
        "PHOREST_BUSINESS_ID": settings.phorest_business_id,
        "PHOREST_BRANCHES": settings.phorest_branches,
    }
    missing = [name for name, value in named.items() if not value]
    return f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing" if missing else None


def _sync(name: str, run: Callable[[Run], Awaitable[None]], cron: str, *, full: str | None = None, only_full: bool = False) -> Sync:
    schedules: dict[str, Default] = {RunType.FULL if only_full else RunType.INCREMENTAL: Default(Cron(cron))}
    if full is not None:
        schedules[RunType.FULL] = Default(Cron(full), CatchUp.SKIP)
    types = (RunType.FULL,) if only_full else (RunType.INCREMENTAL, RunType.FULL)
    overlap = timedelta(0) if only_full else OVERLAP
    return Sync(name=name, run=run, types=types, destination="phorest", schedules=schedules, off=off, keeps_place=True, overlap=overlap)


PHOREST_SYNCS: Final = (
    _sync("phorest-clients", pull_clients, "2 */2 * * *"),
    _sync("phorest-appointments", pull_appointments, "5-59/10 * * * *", full="25 3 * * 0"),
    _sync("phorest-bookings", pull_bookings, "35 */2 * * *"),
    _sync("phorest-checkins", pull_checkins, "8,38 * * * *", only_full=True),
    _sync("phorest-loyalty", pull_loyalty, "45 */12 * * *", only_full=True),
    _sync("phorest-staff", pull_staff, "30 6 * * *", only_full=True),
    _sync("phorest-products", pull_products, "15 5 * * *", only_full=True),
)
