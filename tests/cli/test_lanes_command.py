"""`postroom lanes` and `postroom plans`: held lanes and their heads, stored retries, each act in the audit."""

from outbox.testing import Postroom
from tests.cli.conftest import Command
from tests.outbox.engine import put, worker


async def held(postroom: Postroom) -> list[int]:
    """Two lanes wait for a retry, one event behind the first."""
    first, behind = await put(postroom, "chair:1", 2)
    (second,) = await put(postroom, "chair:2")
    async with worker(postroom) as me:
        await me.retry(*await me.claim(), delay_s=3600)
    return [first, behind, second]


async def test_held_lanes_are_listed_and_their_heads_acted_on(command: Command, postroom: Postroom) -> None:
    first, behind, second = await held(postroom)
    lanes = {lane["lane"]: lane for lane in command("lanes", "--json").json()["lanes"]}
    assert (lanes["chair:1"]["event_id"], lanes["chair:1"]["waiting"], lanes["chair:1"]["mark"]) == (first, 1, "retry")
    one = command("lanes", "show", "chair:1", "--json").json()
    assert [event["id"] for event in one["waiting"]] == [first, behind], "in the order in which they run"
    assert [event["id"] for event in one["events"]] == [behind, first]
    assert command("lanes", "run", "chair:2", "--json").json() == {"lane": "chair:2", "id": second, "waiting": 0}
    assert command("lanes", "release", "chair:1").code == 0
    buried = command("lanes", "bury", "chair:2", "--reason", "stuck")
    assert "is a dead letter" in buried.out
    assert command("lanes", "run", "chair:9").code == 1
    acts = command("audit", "--via", "cli", "--since", "1h", "--json").json()
    told = [(act["what"], act["target"]) for act in acts["acts"]]
    assert told == [("bury", str(second)), ("release lane", str(first)), ("run now", str(second))]
    of_second = command("audit", "--target", str(second), "--what", "run", "--limit", "1")
    assert ("run now" in of_second.out, "bury" in of_second.out, "add --before" in of_second.err) == (True, False, True)


async def test_a_retry_by_canary_is_a_plan_that_is_shown_and_stopped(command: Command, postroom: Postroom) -> None:
    for number in range(3):
        await put(postroom, f"chair:{number}")
    async with worker(postroom) as me:
        await me.bury(*await me.claim())
    plan = command("dead", "retry", "--group", "cause", "--canary", "--json").json()
    assert (plan["state"], plan["became"], plan["canary"]) == ("running", {"waits": 2, "under way": 1}, True)
    shown = command("plans", "show", str(plan["id"]))
    assert "retry 3 dead letters of 3 lanes" in shown.out
    assert [one["id"] for one in command("plans", "--json").json()["plans"]] == [plan["id"]]
    early = command("plans", "continue", str(plan["id"]))
    assert early.code == 1
    assert "does not wait for anybody" in early.err
    assert command("plans", "stop", str(plan["id"]), "--json").json()["state"] == "stopping"
    assert command("plans", "show", "99").code == 1


async def test_a_note_is_written_on_a_group(command: Command, postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as me:
        await me.bury(*await me.claim())
    assert command("dead", "note", "cause", "known since Monday").code == 0
    [group] = command("dead", "groups", "--json").json()["groups"]
    assert group["note"]["note"] == "known since Monday"
    assert "known since Monday" in command("dead", "groups").out
