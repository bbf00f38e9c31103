"""Notion's handshake: a candidate that an operator looks at and promotes. It never replaces a token in use and is never logged."""

import json
from collections.abc import Callable

from outbox.seal import Sealer
from outbox.testing import Postroom
from receiver.handshakes import PER_NETWORK_BURST
from simulators.samples import notion_handshake
from simulators.shapes import compact
from simulators.signing import sign_notion
from tests.receiver.running import AS_VIEWER, JSON, UNUSED_DSN, Talk, notion_delivery, sealer, settings, started, until
from tests.receiver.senders import NOTION_TOKEN

OFFERED = "secret_offered-by-a-new-subscription-1"
PATH = "/api/webhooks/notion/handshakes"


def handshake(token: str = OFFERED) -> tuple[dict[str, str], bytes]:
    body = compact(notion_handshake(token))
    return {**JSON, **sign_notion(body, token)}, body


async def offered(talk: Talk, token: str = OFFERED) -> int:
    """The id of a candidate that was just offered."""
    assert (await talk.webhook("notion", handshake(token))).status_code == 200
    handshake_id: int = (await talk.get(PATH)).json()["handshakes"][0]["id"]
    return handshake_id


async def test_a_handshake_is_kept_sealed_as_a_candidate(postroom: Postroom, logged: Callable[[], str]) -> None:
    async with started(postroom) as talk:
        handshake_id = await offered(talk)
        listed = await talk.get(PATH, viewer=True)
    [one] = listed.json()["handshakes"]
    assert (one["id"], one["state"], one["network"], one["promoted_by"]) == (handshake_id, "candidate", "127.0.0.0/24", None)
    assert OFFERED not in listed.text
    stored = await postroom.rows("select * from outbox.handshakes")
    assert OFFERED not in str(stored)
    assert "is kept for an operator" in logged()
    assert OFFERED not in logged()


async def test_a_candidate_verifies_nothing(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await offered(talk)
        assert (await talk.webhook("notion", notion_delivery(OFFERED))).status_code == 401
        assert (await talk.webhook("notion", notion_delivery(NOTION_TOKEN))).status_code == 202


async def test_a_promoted_token_counts_at_once_beside_those_in_use(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        handshake_id = await offered(talk)
        promoted = await talk.post(f"{PATH}/{handshake_id}/promote")
        assert promoted.json()["retired"] == 0
        for token in (OFFERED, NOTION_TOKEN):
            assert (await talk.webhook("notion", notion_delivery(token))).status_code == 202
        [one] = (await talk.get(PATH)).json()["handshakes"]
        assert (one["state"], one["promoted_by"]) == ("in use", "otto")
        health = (await talk.client.get("/api/webhooks/notion/health")).json()
        assert one["key"] in health["keys"]
    audit = await postroom.rows("select who, what, target from outbox.audit")
    assert audit == [{"who": "otto", "what": "promote handshake", "target": str(handshake_id)}]


async def test_a_promoted_token_reaches_every_other_receiver(postroom: Postroom) -> None:
    async with started(postroom) as one, started(postroom) as other:
        handshake_id = await offered(one)
        await one.post(f"{PATH}/{handshake_id}/promote")
        await other.desk.notion.refresh(other.desk.pool)
        assert (await other.webhook("notion", notion_delivery(OFFERED))).status_code == 202


async def test_a_promoted_token_counts_after_a_restart(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await talk.post(f"{PATH}/{await offered(talk)}/promote")
    async with started(postroom, settings(notion_secrets="")) as talk:
        assert (await talk.webhook("notion", notion_delivery(OFFERED))).status_code == 202


async def test_retiring_the_others_ends_promoted_tokens_but_not_those_of_the_settings(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await talk.post(f"{PATH}/{await offered(talk)}/promote")
        second = await offered(talk, "secret_of-the-second-subscription-2")
        assert (await talk.post(f"{PATH}/{second}/promote", {"retire_others": True})).json()["retired"] == 1
        statuses = [
            (await talk.webhook("notion", notion_delivery(token))).status_code
            for token in (OFFERED, "secret_of-the-second-subscription-2", NOTION_TOKEN)
        ]
    assert statuses == [401, 202, 202]


async def test_a_candidate_is_revealed_to_an_operator_and_the_act_is_kept(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        handshake_id = await offered(talk)
        refused = await talk.client.post(f"{PATH}/{handshake_id}/reveal", headers=AS_VIEWER)
        shown = await talk.post(f"{PATH}/{handshake_id}/reveal")
    assert refused.status_code == 403
    assert shown.json()["verification_token"] == OFFERED
    assert shown.headers["cache-control"] == "no-store"
    [act] = await postroom.rows("select who, what, result::text from outbox.audit")
    assert (act["who"], act["what"]) == ("otto", "reveal handshake")
    assert OFFERED not in act["result"]


async def test_a_token_in_use_is_neither_shown_nor_promoted_again(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        handshake_id = await offered(talk)
        await talk.post(f"{PATH}/{handshake_id}/promote")
        answers = [await talk.post(f"{PATH}/{handshake_id}/{act}") for act in ("reveal", "promote")]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert OFFERED not in "".join(answer.text for answer in answers)


async def test_the_same_handshake_again_is_the_same_candidate_and_never_ends_a_promotion(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        handshake_id = await offered(talk)
        await talk.post(f"{PATH}/{handshake_id}/promote")
        assert await offered(talk) == handshake_id
        [one] = (await talk.get(PATH)).json()["handshakes"]
    assert one["state"] == "in use"


async def test_handshakes_of_one_network_are_few(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        answers = [await talk.webhook("notion", handshake(f"secret_number-{n}-of-a-flood")) for n in range(PER_NETWORK_BURST + 2)]
        await talk.flushed()
    assert [answer.status_code for answer in answers] == [200] * PER_NETWORK_BURST + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
    kept = await postroom.rows("select reason, body_head from outbox.rejected")
    assert kept == [{"reason": "busy", "body_head": b""}] * 2


async def test_without_a_sealing_key_a_handshake_is_refused_and_the_log_says_what_to_do(
    postroom: Postroom, logged: Callable[[], str]
) -> None:
    async with started(postroom, seal=Sealer(())) as talk:
        answer = await talk.webhook("notion", handshake())
        assert not (await talk.get(PATH)).json()["can_keep"]
        await talk.flushed()
    assert answer.status_code == 503
    assert "POSTROOM_ENCRYPTION_KEYS" in logged()
    assert OFFERED not in logged()
    assert await postroom.value("select last_rejected from outbox.sources where name = 'notion'") == "cannot-keep-token"
    assert await postroom.value("select count(*) from outbox.handshakes") == 0


async def test_a_token_that_no_key_opens_is_passed_over_and_the_others_count(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        await talk.post(f"{PATH}/{await offered(talk)}/promote")
    other_key = "1w7pS8yJ0Hc9E0CwS1u0G2WkqkMBoVtdF3i6bI0w7nE="
    async with started(postroom, seal=sealer(other_key)) as talk:
        await until(lambda: talk.desk.notion.is_known)
        assert (await talk.webhook("notion", notion_delivery(OFFERED))).status_code == 401
        assert (await talk.webhook("notion", notion_delivery())).status_code == 202
        candidate = await postroom.value("update outbox.handshakes set promoted_at = null returning id")
        assert (await talk.post(f"{PATH}/{candidate}/promote")).status_code == 503


async def test_an_unknown_handshake_is_a_404(postroom: Postroom) -> None:
    async with started(postroom) as talk:
        statuses = [(await talk.post(f"{PATH}/{which}/{act}")).status_code for which in ("1", "x", "0") for act in ("reveal", "promote")]
    assert statuses == [404] * 6


async def test_a_handshake_is_told_to_come_again_while_the_database_is_away() -> None:
    async with started(UNUSED_DSN) as talk:
        answer = await talk.webhook("notion", handshake())
    assert answer.status_code == 503
    assert OFFERED not in json.dumps(answer.json())
