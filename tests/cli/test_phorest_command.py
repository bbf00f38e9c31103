"""`postroom phorest`: one record at once, and a rollback that first only counts."""

from outbox import db
from outbox.store import links, syncs
from outbox.testing import Postroom
from tests.cli.conftest import Command


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
