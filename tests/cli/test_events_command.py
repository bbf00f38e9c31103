"""`postroom events` and `postroom stage`: what an app stages is listed, shown with its story, and replayed."""

from outbox import Event, stage
from outbox.testing import Drain, Postroom
from tests.cli.conftest import Command
from tests.outbox.engine import settled

APPOINTMENT = '{"appointment": {"id": "a-1", "status": "scheduled"}}'


async def staged(
    postroom: Postroom, kind: str = "report.due", *, lane: str | None = None, key: str | None = None, source: str = "app"
) -> int:
    async with postroom.pool.acquire() as connection, connection.transaction():
        return int(await stage(connection, Event(kind, {"any": "json"}, lane=lane, key=key, source=source)))


async def test_a_staged_event_is_in_the_outbox_with_all_that_was_said(command: Command, postroom: Postroom) -> None:
    ended = command("stage", "appointment.created", "--payload", APPOINTMENT, "--key", "k-1", "--lane", "appointment:a-1", "--json")
    assert ended.code == 0, ended.err
    [row] = await postroom.staged()
    assert ended.json() == {"id": row["id"], "duplicate": False}
    assert (row["kind"], row["key"], row["lane"], row["source"], row["state"]) == (
        "appointment.created",
        "k-1",
        "appointment:a-1",
        "app",
        "pending",
    )
    [act] = await postroom.rows("select who, via, what, target from outbox.audit")
    assert (act["via"], act["what"], act["target"]) == ("cli", "stage", str(row["id"]))


async def test_a_payload_may_come_from_a_file_or_from_standard_input(command: Command, postroom: Postroom, tmp_path: object) -> None:
    (tmp_path / "change.json").write_text(APPOINTMENT)  # type: ignore[operator] # pytest's tmp_path
    assert command("stage", "appointment.created", "--payload", "@change.json").code == 0
    assert command("stage", "appointment.created", "--payload", "-", stdin=APPOINTMENT).code == 0
    assert len(await postroom.staged("appointment.created")) == 2


async def test_staging_the_same_key_again_answers_with_the_first_event(command: Command, postroom: Postroom) -> None:
    first, second = (command("stage", "report.due", "--payload", "{}", "--key", "k", "--json").json() for _ in range(2))
    assert second == {"id": first["id"], "duplicate": True}
    assert len(await postroom.staged()) == 1


async def test_a_key_with_another_payload_is_refused_by_name(command: Command, postroom: Postroom) -> None:
    command("stage", "report.due", "--payload", "{}", "--key", "k")
    ended = command("stage", "report.due", "--payload", "[1]", "--key", "k")
    assert ended.code == 1
    assert "key 'k'" in ended.err
    assert len(await postroom.staged()) == 1


async def test_an_event_may_be_staged_for_later(command: Command, postroom: Postroom) -> None:
    command("stage", "report.due", "--payload", "{}", "--due-at", "2h")
    [row] = await postroom.staged()
    assert row["why"] == "delayed"
    assert await postroom.value("select due_at between now() + '119 min' and now() + '120 min' from outbox.delayed")


async def test_a_database_that_is_up_to_date_is_left_as_it_is(command: Command) -> None:
    assert command("migrate", "--json").json() == {"applied": []}
    assert "0 migrations applied" in command("migrate").out


async def test_events_are_listed_newest_first_and_filtered(command: Command, postroom: Postroom) -> None:
    old = await staged(postroom, "report.due", lane="x")
    new = await staged(postroom, "report.sent", key="k", source="shop")
    assert [event["id"] for event in command("events", "--json").json()["events"]] == [new, old]
    for filters in (["--kind", "report.due"], ["--lane", "x"], ["--source", "app"], ["--before", str(new)]):
        assert [event["id"] for event in command("events", *filters, "--json").json()["events"]] == [old]
    assert [event["id"] for event in command("events", "--key", "k", "--source", "shop", "--json").json()["events"]] == [new]
    assert command("events", "--state", "done", "--json").json() == {"events": [], "next_before": None, "back_to": None}
    assert command("events", "--limit", "1", "--json").json()["next_before"] == new


async def test_the_list_for_people_says_what_each_event_is(command: Command, postroom: Postroom) -> None:
    event_id = await staged(postroom, lane="x")
    ended = command("events")
    assert str(event_id) in ended.out
    assert "pending" in ended.out
    assert "ready" in ended.out
    assert command("events", "--kind", "no.such").out.strip() == "No events."


async def test_an_event_is_shown_with_its_timeline(command: Command, postroom: Postroom, drain: Drain) -> None:
    event_id = await staged(postroom, "report.due")
    await drain()
    told = command("events", "show", str(event_id), "--json").json()
    assert (told["state"], told["why"]) == ("skipped", "no route for report.due")
    assert [entry["what"] for entry in told["timeline"] if entry["what"] != "wait"] == ["staged", "attempt"]
    shown = command("events", "show", str(event_id)).out
    assert "accepted from app and staged" in shown
    assert "no route for report.due" in shown


async def test_text_of_an_event_reaches_no_terminal_as_a_command(command: Command, postroom: Postroom) -> None:
    await staged(postroom, lane="\x1b[2J[bold]x[/bold]")
    out = command("events").out
    assert "\x1b" not in out
    assert "�[2J[bold]x[/bold]" in out


async def test_a_settled_event_is_replayed_and_the_timeline_says_by_whom(command: Command, postroom: Postroom, drain: Drain) -> None:
    event_id = await staged(postroom)
    await drain()
    ended = command("events", "replay", str(event_id), "--json", LOGNAME="maeve")
    assert ended.json() == {"id": event_id, "replayed": True}
    [row] = await postroom.staged()
    assert row["state"] == "pending"
    assert await postroom.value("select note from outbox.attempts where outcome = 'p'") == "replayed by maeve"
    assert await postroom.value("select who || ' ' || via || ' ' || what from outbox.audit") == "maeve cli replay"


async def test_what_is_undone_or_unknown_is_not_replayed_and_says_why(command: Command, postroom: Postroom) -> None:
    event_id = await staged(postroom)
    pending, unknown = command("events", "replay", str(event_id)), command("events", "replay", "77")
    assert (pending.code, unknown.code) == (1, 1)
    assert "is pending" in pending.err
    assert "Event 77 is unknown here" in unknown.err
    assert await postroom.value("select count(*) from outbox.audit") == 0


async def test_an_unknown_event_is_no_success(command: Command) -> None:
    ended = command("events", "show", "77", "--json")
    assert (ended.code, ended.out) == (1, "")
    assert "Event 77 is unknown here" in ended.err


async def test_a_filter_is_counted_then_planned_and_several_ids_are_replayed_at_once(command: Command, postroom: Postroom) -> None:
    dones = [await settled(postroom, "done", f"chair:{n}", kind="a.kind") for n in range(3)]
    other = await settled(postroom, "done", "chair:9", kind="b.kind")
    dry = command("events", "replay", "--kind", "a.kind", "--dry-run", "--json")
    assert dry.json() == {"dry_run": True, "replayed": 0, "would_be": 3}
    begun = command("events", "replay", "--kind", "a.kind", "--no-canary", "--yes", "--json", LOGNAME="maeve")
    assert (begun.code, begun.json()["act"], begun.json()["events"], begun.json()["by"]) == (0, "replay", 3, "maeve")
    assert begun.json()["became"] == {"under way": 3}
    two = command("events", "replay", str(other), str(dones[0]), "--yes", "--json")
    assert (two.code, two.json()) == (1, {"replayed": 1, "ids": [other], "not_settled": [dones[0]]})
