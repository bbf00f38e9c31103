"""What a notice offers to take back is taken back: all is as it was before the act, and that can be undone, too."""

from collections.abc import Sequence
from datetime import UTC, datetime

from outbox.cadence import Cron
from outbox.store import notes, schedules, syncs
from outbox.store.schedules import CatchUp
from outbox.testing import Postroom
from tests.console.visiting import Visitor, operating

SYNC, SCHEDULE = "/console/syncs/ghl-contacts", "/console/syncs/ghl-contacts/schedules/full"
STANDS = {
    "notion": "select array[d.state, d.why] from outbox.destinations d where name = 'notion'",
    "sync": "select array[(paused_at is null)::text, paused_why] from outbox.syncs where name = 'ghl-contacts'",
    "schedule": "select array[is_on::text, cron, zone] from outbox.schedules where type = 'full'",
    "ada": "select array[is_on::text, every_s::text] from outbox.schedules where sync = 'google-contacts:ada'",
    "note": "select array[note] from outbox.notes",
}


async def stands(postroom: Postroom) -> dict[str, object]:
    return {name: await postroom.value(query) for name, query in STANDS.items()}


async def taken_back(postroom: Postroom, visitor: Visitor, path: str, on: str, said: Sequence[str], **fields: str) -> None:
    """The act, its undo and the undo of that, each by the button it offers."""
    before = await stands(postroom)
    await visitor.act(path, **fields)
    after = await stands(postroom)
    assert after != before, path
    assert await visitor.undo(on) == said[0]
    assert await stands(postroom) == before, path
    assert await visitor.undo(on) == said[1]
    assert await stands(postroom) == after, path


async def test_each_act_with_an_inverse_is_taken_back_by_its_notice(postroom: Postroom) -> None:
    await syncs.register(postroom.pool, "ghl-contacts", destination="ghl", types=["incremental", "full"], off=None)
    await schedules.put(postroom.pool, "ghl-contacts", "full", Cron("0 2 * * *"), catch_up=CatchUp.ONE, now=datetime.now(UTC))
    await notes.write(postroom.pool, "cafe", "known since Monday", by="ana")
    async with operating(postroom) as visitor:
        to, flows = "/console/connections/notion", "/console/connections"
        await visitor.act(f"{to}/pause", reason="new schema", minutes="5")
        await taken_back(postroom, visitor, f"{to}/resume", flows, ("Pause it again", "Resume it"))
        await taken_back(postroom, visitor, f"{to}/pause", flows, ("Resume it", "Pause it again"), reason="once more")
        await taken_back(postroom, visitor, f"{to}/pause", flows, ("Pause it again", "Pause it again"), reason="another reason")
        await taken_back(postroom, visitor, f"{SYNC}/pause", SYNC, ("Resume it", "Pause it again"), reason="we move")
        await taken_back(postroom, visitor, f"{SCHEDULE}/switch", SYNC, ("Switch it on", "Switch it off"))
        await visitor.act(f"{SCHEDULE}/switch", on="1")
        await taken_back(postroom, visitor, SCHEDULE, SYNC, ("Change it back", "Change it back"), cron="0 3 * * *", zone="Europe/Vienna")
        await visitor.act("/console/google/ada", enabled="1", hours="12")
        await taken_back(postroom, visitor, "/console/google/ada", "/console/google", ("Undo", "Undo"), hours="24")
        await taken_back(postroom, visitor, "/console/acts/note", "/console/audit", ("Undo", "Undo"), group="cafe", note="mended")
        await visitor.act("/console/dismiss")
        assert "notice" not in (await visitor.get("/console/audit")).text.partition("<main")[2]
