"""`postroom phorest`: one record at once, and a rollback that first only counts."""

import asyncio

import pytest

from cli import phorest
from outbox import db, operators
from outbox.operators import Actor
from outbox.store import links, syncs
from outbox.store.phorest_rollback import Rest
from outbox.testing import Postroom
from tests.cli.conftest import Command

ANA = Actor("ana", "cli")


async def test_one_client_is_asked_for(command: Command, postroom: Postroom) -> None:
    event_id = command("phorest", "import", "client", "p1", "--json").json()["event"]
    [event] = await postroom.staged()
    assert (event["id"], event["kind"], event["lane"]) == (event_id, "phorest.client.import", "phorest:client:p1")


def test_another_kind_of_record_is_bad_usage(command: Command) -> None:
    ended = command("phorest", "import", "staff", "s1")
    assert (ended.code, "client and appointment" in ended.err) == (2, True)


async def test_a_rollback_counts_first_and_with_apply_stages_each_deletion_once(command: Command, postroom: Postroom) -> None:
    async with db.transaction(postroom.pool) as connection:
        await links.join(connection, "phorest-client", ours="p1", theirs="c1", destination="ghl", our_hash=None, made=True)
        await links.join(connection, "phorest-client", ours="p2", theirs="c2", destination="ghl", our_hash=None)
        await syncs.register(connection, "phorest-clients", destination="phorest", types=["full"], off=None)
    assert command("phorest", "rollback").out == "A rollback would delete: 1 of kind client.\n"
    assert await postroom.staged() == []
    for _ in range(2):
        assert command("phorest", "rollback", "--apply", "--json").json() == {"left": {"client": 1}, "staged": 1}
    assert [event["kind"] for event in await postroom.staged()] == ["phorest.undo"]
    assert await postroom.value("select paused_why from outbox.syncs where name = 'phorest-clients'") == "rolled back"


async def staged_deletions(postroom: Postroom, *clients: str) -> list[int]:
    """Contacts that were made for these clients, and a rollback that was begun."""
    async with db.transaction(postroom.pool) as connection:
        for one in clients:
            await links.join(connection, "phorest-client", ours=one, theirs=f"of-{one}", destination="ghl", our_hash=None, made=True)
    await operators.roll_back_phorest(postroom.pool, ANA)
    return [event["id"] for event in await postroom.staged("phorest.undo")]


async def test_waiting_ends_when_what_is_left_is_dead_or_was_given_up(command: Command, postroom: Postroom) -> None:
    refused, discarded = await staged_deletions(postroom, "p1", "p2")
    for event_id in (refused, discarded):
        await operators.bury(postroom.pool, ANA, event_id, reason="refused")
    await operators.discard(postroom.pool, ANA, discarded, reason="the salon keeps it")
    ended = command("phorest", "rollback", "--apply", "--wait")
    assert (ended.code, ended.out.splitlines()) == (
        1,
        [
            "0 of 2 are deleted.",
            "1 deletion is a dead letter: postroom dead --kind phorest.undo",
            "1 more is there, made meanwhile or discarded: postroom phorest rollback",
        ],
    )
    told = command("phorest", "rollback", "--apply", "--wait", "--json")
    assert (told.code, told.json()["rest"]) == (1, {"left": 2, "dead": 1})


async def test_waiting_goes_on_while_a_deletion_is_to_come(postroom: Postroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phorest, "LOOK_EVERY_S", 0.0)
    [event_id] = await staged_deletions(postroom, "p1")
    watching = asyncio.create_task(phorest._watch(postroom.pool, 1, quiet=True))
    await postroom.value("select 1")
    assert not watching.done()
    await operators.bury(postroom.pool, ANA, event_id, reason="refused")
    assert await watching == Rest(left=1, coming=0, dead=1, fresh=0)


async def test_a_rollback_at_work_is_stopped_and_what_is_left_is_named(command: Command, postroom: Postroom) -> None:
    await staged_deletions(postroom, "p1")
    ended = command("phorest", "rollback", "--stop")
    assert (ended.code, ended.out) == (0, "Stopped. Still there: 1 of kind client. `postroom phorest rollback --apply` begins anew.\n")
    again = command("phorest", "rollback", "--stop")
    assert (again.code, "nothing to stop" in again.err) == (1, True)
    assert command("phorest", "rollback", "--stop", "--apply").code == 2


def test_a_rollback_of_nothing_is_over_at_once(command: Command) -> None:
    ended = command("phorest", "rollback", "--apply", "--wait")
    assert (ended.code, ended.out) == (0, "0 of 0 are deleted.\n")
