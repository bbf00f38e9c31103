"""`postroom destinations` and `postroom handshake`: what a person decides by hand."""

from pydantic import SecretStr

from outbox.seal import Sealer, fingerprint, new_key
from outbox.store import handshakes
from outbox.testing import Postroom
from tests.cli.conftest import Command

TOKEN = "invented-verification-token-1"


async def test_a_destination_is_paused_and_resumed_by_hand(command: Command, postroom: Postroom) -> None:
    listed = command("destinations", "--json").json()["destinations"]
    assert [(entry["name"], entry["state"]) for entry in listed] == [(name, "flowing") for name in ("ghl", "notion", "phorest")]
    paused = command("destinations", "pause", "ghl", "--for", "2h", "--why", "maintenance", "--json", LOGNAME="maeve")
    assert paused.json() == {"name": "ghl", "state": "paused", "for_s": 7200.0}
    [ghl, *_] = command("destinations", "--json").json()["destinations"]
    assert (ghl["state"], ghl["why"], ghl["by"]) == ("paused", "maintenance", "maeve")
    assert 7100 < ghl["for_s"] <= 7200
    assert "maintenance" in command("destinations").out
    assert command("destinations", "resume", "ghl").out == "ghl flows again: no event waits; they go at the rate of its budget.\n"
    assert command("destinations", "resume", "ghl").out == "ghl was flowing already.\n"
    assert [row["what"] for row in await postroom.rows("select what from outbox.audit order by id")] == ["pause", "resume", "resume"]


async def test_a_destination_is_asked_whether_it_works(command: Command, postroom: Postroom) -> None:
    event = command("destinations", "test", "notion", "--json").json()["event"]
    assert await postroom.value("select kind from outbox.events where id = $1", event) == "connection.test.notion"
    command("destinations", "pause", "ghl")
    ended = command("destinations", "test", "ghl")
    assert (ended.code, "Resume it first" in ended.err) == (1, True)


async def test_an_unknown_destination_is_bad_usage_and_the_known_ones_are_named(command: Command) -> None:
    for act in ("pause", "resume"):
        ended = command("destinations", act, "phone")
        assert ended.code == 2
        assert "ghl, notion" in ended.err


async def offered(postroom: Postroom, key: str, token: str = TOKEN) -> int:
    sealed = Sealer([SecretStr(key)]).seal(token)
    return await handshakes.offer(postroom.pool, "notion", sealed=sealed, fingerprint=fingerprint(token), remote="192.0.2.0/24")


async def test_a_verification_token_is_listed_without_showing_it(command: Command, postroom: Postroom) -> None:
    assert command("handshake").out == "Notion has sent no verification token.\n"
    handshake_id = await offered(postroom, new_key())
    for ended in (command("handshake"), command("handshake", "--json")):
        assert TOKEN not in ended.out
        assert fingerprint(TOKEN) in ended.out
    [entry] = command("handshake", "--json").json()["handshakes"]
    assert (entry["id"], entry["state"]) == (handshake_id, "candidate")


async def test_a_candidate_is_shown_to_be_pasted_and_then_promoted(command: Command, postroom: Postroom) -> None:
    key = new_key()
    first = await offered(postroom, key)
    second = await offered(postroom, key, "invented-verification-token-2")
    assert command("handshake", "show", str(first), "--json", POSTROOM_ENCRYPTION_KEYS=key).json() == {"id": first, "token": TOKEN}
    assert command("handshake", "promote", str(first), POSTROOM_ENCRYPTION_KEYS=key).out == f"Token {first} is in use.\n"
    command("handshake", "promote", str(second), POSTROOM_ENCRYPTION_KEYS=key)
    assert [entry["state"] for entry in command("handshake", "--json").json()["handshakes"]] == ["in use", "in use"]
    ended = command("handshake", "promote", str(second), "--retire-others", "--json", POSTROOM_ENCRYPTION_KEYS=key)
    assert ended.json() == {"id": second, "state": "in use", "retired": 1}
    assert [entry["id"] for entry in command("handshake", "--json").json()["handshakes"]] == [second]
    acts = [row["what"] for row in await postroom.rows("select what from outbox.audit order by id")]
    assert acts == ["reveal handshake", "promote handshake", "promote handshake", "promote handshake"]


async def test_a_token_in_use_is_neither_shown_nor_promoted_again(command: Command, postroom: Postroom) -> None:
    key = new_key()
    handshake_id = str(await offered(postroom, key))
    command("handshake", "promote", handshake_id, POSTROOM_ENCRYPTION_KEYS=key)
    for act in ("show", "promote"):
        ended = command("handshake", act, handshake_id, POSTROOM_ENCRYPTION_KEYS=key)
        assert (ended.code, ended.out) == (1, "")
        assert "in use" in ended.err


async def test_a_token_sealed_with_another_key_is_not_promoted(command: Command, postroom: Postroom) -> None:
    handshake_id = str(await offered(postroom, new_key()))
    for variables in ({}, {"POSTROOM_ENCRYPTION_KEYS": new_key()}):
        ended = command("handshake", "promote", handshake_id, **variables)
        assert ended.code == 1
        assert "POSTROOM_ENCRYPTION_KEYS" in ended.err
    assert command("handshake", "--json").json()["handshakes"][0]["state"] == "candidate"
