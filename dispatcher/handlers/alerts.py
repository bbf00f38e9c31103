"""Alerts → the configured URLs: one event for each, so that a URL that is dead holds up no other.

An alert may come twice to a chat room, when its answer was lost: better that than never. Standard Webhooks receivers know a repeated one
by its id.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict

from dispatcher.clients.channels import PREFIX, Alert
from dispatcher.context import Context
from dispatcher.outcome import Done, Outcome, Settled, Skipped
from outbox.event import Claimed, Event
from outbox.store import events

DELIVER: Final = "alert.deliver"


class Change(BaseModel):
    """Payload of alert.raised and alert.cleared."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    alert: str
    state: str
    was: str
    since: str
    detail: str
    runbook: str


class Delivery(BaseModel):
    """Payload of alert.deliver."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    channel: str
    change: Change


async def told_everywhere(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Stage the telling for each URL."""
    change = Change.model_validate_json(event.payload)
    names = ctx.services.channels.names if ctx.services.channels is not None else ()
    if not names:
        return Skipped("no URL is set up for alerts: POSTROOM_ALERT_URLS")
    async with ctx.transaction() as tx:
        for name in names:
            delivery = Delivery(channel=name, change=change)
            await tx.stage(Event(DELIVER, delivery, key=f"{event.id}:{name}", lane=f"{PREFIX}:{name}", source="alerts"))
        return await tx.settle(Done({"told": list(names)}))


async def told(event: Claimed, ctx: Context) -> Outcome | Settled:
    """Tell one URL."""
    delivery, channels = Delivery.model_validate_json(event.payload), ctx.services.channels
    if channels is None or delivery.channel not in channels.names:
        return Skipped(f"POSTROOM_ALERT_URLS has no {delivery.channel} any more")
    change = delivery.change
    alert = Alert(change.alert, change.state, change.was, change.since, change.detail, ctx.settings.runbook(change.runbook))
    now = await events.clock(ctx.services.pool)

    async def tell() -> bool:
        await channels.post(delivery.channel, alert, message_id=f"msg_{event.id}", now=now)
        return True

    await ctx.step("tell", tell, repeatable=True)
    return Done({"told": delivery.channel})
