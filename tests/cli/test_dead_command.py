"""`postroom dead`: dead letters are listed, grouped, shown, retried and discarded, and each act leaves its trace (P8)."""

import pytest

from dispatcher.context import Context
from dispatcher.outcome import Dead, Outcome
from dispatcher.routes import Route
from outbox import Event, stage
from outbox.event import Claimed
from outbox.testing import Drain, Postroom
from tests.cli.conftest import Command


async def dies(event: Claimed, ctx: Context) -> Outcome:
    return Dead(f"the {event.json()['why']} is missing in order {event.id}")


ROUTES = {"order.paid": Route(dies), "order.sent": Route(dies)}


@pytest.fixture
async def letters(postroom: Postroom, drain: Drain) -> list[int]:
    """Three dead letters: two of one cause, one of another, oldest first."""
    ids: list[int] = []
    for kind, why in (("order.paid", "address"), ("order.paid", "address"), ("order.sent", "colour")):
        async with postroom.pool.acquire() as connection, connection.transaction():
            ids.append(int(await stage(connection, Event(kind, {"why": why}, lane=f"order:{len(ids)}"))))
    totals = await drain(ROUTES)
    assert totals["dead"] == 3
    return ids


def listed(command: Command, *filters: str) -> list[int]:
    return [letter["id"] for letter in command("dead", *filters, "--json").json()["dead_letters"]]


async def test_dead_letters_are_listed_newest_first_and_filtered(command: Command, letters: list[int]) -> None:
    assert listed(command) == letters[::-1]
    assert listed(command, "--kind", "order.sent") == letters[2:]
    assert listed(command, "--lane", "order:0") == letters[:1]
    assert listed(command, "--since", "1h") == letters[::-1]
    assert listed(command, "--until", "2020-01-01") == []
    assert "the colour is missing in order" in command("dead").out


async def test_dead_letters_of_one_cause_are_one_group(command: Command, letters: list[int]) -> None:
    groups = command("dead", "groups", "--json").json()["groups"]
    assert sorted((group["dead"], group["example"]) for group in groups) == [(1, letters[2]), (2, letters[1])]
    [address] = [group["group"] for group in groups if group["dead"] == 2]
    assert listed(command, "--group", address) == letters[1::-1]
    assert [group["group"] for group in command("dead", "groups", "--since", "1h", "--cause", "buried", "--json").json()["groups"]] == []


async def test_a_dead_letter_is_shown_with_why_it_died_and_its_story(command: Command, letters: list[int]) -> None:
    told = command("dead", "show", str(letters[0]), "--json").json()
    assert told["reason"].startswith("the address is missing")
    assert [entry["what"] for entry in told["story"]["timeline"] if entry["what"] != "wait"] == ["staged", "attempt"]
    assert f"postroom dead retry {letters[0]}" in command("dead", "show", str(letters[0])).out


async def test_one_dead_letter_is_retried_and_the_audit_says_who(command: Command, postroom: Postroom, letters: list[int]) -> None:
    ended = command("dead", "retry", str(letters[0]), "--json", LOGNAME="maeve")
    assert ended.code == 0
    assert ended.json() == {"dry_run": False, "retried": 1, "ids": [letters[0]], "not_dead": []}
    assert [row["state"] for row in await postroom.staged()] == ["pending", "dead", "dead"]
    assert (
        await postroom.value("select who || ' ' || via || ' ' || what || ' ' || target from outbox.audit")
        == f"maeve cli retry {letters[0]}"
    )


async def test_a_filter_retries_what_it_finds_and_nothing_else(command: Command, postroom: Postroom, letters: list[int]) -> None:
    dry = command("dead", "retry", "--kind", "order.paid", "--dry-run", "--json").json()
    assert (dry["would_be"], dry["retried"]) == (2, 0)
    assert (await postroom.totals())["dead"] == 3
    asked = command("dead", "retry", "--kind", "order.paid")
    assert asked.code == 2
    assert "--yes" in asked.err
    assert command("dead", "retry", "--kind", "order.paid", "--yes").out == "2 dead letters retried.\n"
    assert [row["state"] for row in await postroom.staged()] == ["pending", "pending", "dead"]
    [act] = await postroom.rows("select what, result::text from outbox.audit")
    assert act["what"] == "retry by filter"
    assert '"kind": "order.paid"' in act["result"]


async def test_all_are_retried_only_when_all_is_said(command: Command, postroom: Postroom, letters: list[int]) -> None:
    assert command("dead", "retry", "--yes").code == 2
    assert command("dead", "retry", "--all", "--kind", "order.paid", "--yes").code == 2
    assert command("dead", "retry", "--all", "--yes", "--json").json()["ids"] == letters
    assert (await postroom.totals())["pending"] == 3


async def test_discarding_asks_for_a_reason_and_keeps_it(command: Command, postroom: Postroom, letters: list[int]) -> None:
    assert command("dead", "discard", str(letters[0])).code == 2
    assert command("dead", "discard", str(letters[0]), "--reason", " ").code == 2
    ended = command("dead", "discard", str(letters[0]), "--reason", "paid in cash", "--json", LOGNAME="maeve")
    assert ended.json()["discarded"] == 1
    [row] = [row for row in await postroom.staged() if row["id"] == letters[0]]
    assert (row["state"], row["why"]) == ("skipped", "discarded by maeve: paid in cash")
    assert await postroom.value("select reason from outbox.audit") == "paid in cash"


async def test_an_id_that_is_no_dead_letter_is_named_and_the_others_are_retried(
    command: Command, postroom: Postroom, letters: list[int]
) -> None:
    ended = command("dead", "retry", str(letters[0]), "77", "--yes")
    assert ended.code == 1
    assert ended.out == "1 dead letter retried.\nNo dead letter: 77.\n"
    assert (await postroom.totals())["pending"] == 1


async def test_without_dead_letters_there_is_nothing_to_say(command: Command) -> None:
    assert command("dead").out == "No dead letters.\n"
    assert command("dead", "groups").out == "No dead letters.\n"
    assert command("dead", "show", "77").code == 1
    assert command("dead", "retry", "--all", "--json").json() == {"dry_run": False, "retried": 0, "ids": [], "not_dead": []}
