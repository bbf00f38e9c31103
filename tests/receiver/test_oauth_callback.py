"""Where a person comes back to from GHL: a state that we gave out counts once, and what comes with it is sealed and staged."""

import json

import pytest

from outbox.seal import Sealer
from outbox.store import consents
from outbox.testing import Postroom
from tests.receiver.running import Talk, sealer, started

PATHS = ("/api/oauth/ghl/callback", "/api/oauth/crm/callback")
BACK = "https://app.example.com/api/oauth/ghl/callback"
CODE = "code-invented-1"


async def state_of(postroom: Postroom, *, lasting_s: float = 60, provider: str = "ghl") -> str:
    return await consents.begin(postroom.pool, provider, redirect_uri=BACK, made_by="maeve", lasting_s=lasting_s, label="Shop in Cork")


async def come_back(talk: Talk, path: str = PATHS[0], **given: str) -> tuple[int, str]:
    answer = await talk.client.get(path, params=given)
    return answer.status_code, answer.text


@pytest.mark.parametrize("path", PATHS)
async def test_a_code_with_its_state_is_sealed_and_staged_and_the_person_thanked(postroom: Postroom, path: str) -> None:
    state = await state_of(postroom)
    async with started(postroom) as talk:
        answer = await talk.client.get(path, params={"code": CODE, "state": state, "locationId": "whatever GHL adds"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert "Connected" in answer.text
    [event] = await postroom.staged()
    payload = json.loads(event["payload"])
    assert (event["kind"], event["source"]) == ("ghl.oauth.code", "postroom")
    assert (payload["redirect_uri"], payload["label"]) == (BACK, "Shop in Cork")
    assert CODE not in event["payload"]
    assert sealer().open(payload["sealed"].encode()).get_secret_value() == CODE
    assert await postroom.value("select count(*) from outbox.consents") == 0


async def test_a_state_counts_once(postroom: Postroom) -> None:
    state = await state_of(postroom)
    async with started(postroom) as talk:
        found = [await come_back(talk, code=CODE, state=state) for _ in range(2)]
    assert [status for status, _ in found] == [200, 400]
    assert "used before" in found[1][1]
    assert len(await postroom.staged()) == 1


@pytest.mark.parametrize("kind", ["unknown", "too old", "another provider's"])
async def test_a_state_that_is_not_ours_stages_nothing(postroom: Postroom, kind: str) -> None:
    states = {
        "unknown": "invented",
        "too old": await state_of(postroom, lasting_s=-1),
        "another provider's": await state_of(postroom, provider="other"),
    }
    async with started(postroom) as talk:
        status, text = await come_back(talk, code=CODE, state=states[kind])
    assert (status, "postroom connect ghl" in text) == (400, True)
    assert await postroom.staged() == []


async def test_without_code_or_state_nothing_is_looked_up(postroom: Postroom) -> None:
    state = await state_of(postroom)
    async with started(postroom) as talk:
        for given in ({}, {"code": CODE}, {"state": state}, {"code": "", "state": state}, {"code": "x" * 2001, "state": state}):
            assert (await come_back(talk, **given))[0] == 400
        assert (await come_back(talk, code="\x00\ud800".encode("utf-8", "replace").decode(), state="\x00"))[0] == 400
        # A person who did not consent may try the same link again.
        status, text = await come_back(talk, error="access_denied", state=state)
        assert (status, "no consent" in text) == (400, True)
        assert (await come_back(talk, code=CODE, state=state))[0] == 200
    assert len(await postroom.staged()) == 1


async def test_nothing_of_the_request_is_shown(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        for given in ({"error": "<script>x</script>"}, {"code": "<b>code</b>", "state": "<i>state</i>"}):
            _, text = await come_back(talk, **given)
            assert not any(piece in text for piece in ("script", "<b>", "<i>state"))


async def test_without_a_key_to_seal_with_the_state_is_not_spent(postroom: Postroom) -> None:
    state = await state_of(postroom)
    async with started(postroom, seal=Sealer(())) as talk:
        answer = await talk.client.get(PATHS[0], params={"code": CODE, "state": state})
    assert (answer.status_code, "POSTROOM_ENCRYPTION_KEYS" in answer.json()["detail"]) == (503, True)
    assert await postroom.value("select count(*) from outbox.consents") == 1


async def test_a_state_is_kept_only_as_its_digest_and_forgotten_when_it_is_too_old(postroom: Postroom) -> None:
    old, state = await state_of(postroom, lasting_s=-1), await state_of(postroom)
    rows = await postroom.rows("select c::text as text from outbox.consents c")
    assert len(rows) == 1
    assert old not in rows[0]["text"]
    assert state not in rows[0]["text"]


GOOGLE = "/api/oauth/google/callback"


async def test_googles_code_is_staged_with_its_user_and_its_verifier_still_sealed(postroom: Postroom) -> None:
    back, verifier = "https://app.example.com/api/oauth/google/callback", sealer().seal("verifier-1")
    state = await consents.begin(
        postroom.pool, "google", redirect_uri=back, made_by="maeve", lasting_s=60, account="ada", verifier=verifier
    )
    async with started(postroom) as talk:
        assert (await come_back(talk, PATHS[0], code=CODE, state=state))[0] == 400  # no other provider ends it
        status, text = await come_back(talk, GOOGLE, code=CODE, state=state, scope="contacts")
        again = await come_back(talk, GOOGLE, code=CODE, state=state)
        refused = await come_back(talk, GOOGLE, error="access_denied", state=state)
    assert (status, "Connected" in text) == (200, True)
    assert (again[0], "postroom connect google --user" in again[1]) == (400, True)
    assert (refused[0], "no consent" in refused[1]) == (400, True)
    [event] = await postroom.staged()
    payload = json.loads(event["payload"])
    assert (event["kind"], payload["account"], payload["redirect_uri"]) == ("google.oauth.code", "ada", back)
    assert sealer().open(payload["verifier"].encode()).get_secret_value() == "verifier-1"
    assert "verifier-1" not in event["payload"]
    assert CODE not in event["payload"]
