"""Verification tokens: at most five candidates of a source, and never a change to one that is in use."""

from typing import Any

from outbox.store import handshakes
from outbox.testing import Postroom


async def offer(postroom: Postroom, name: str, source: str = "notion") -> int:
    return await handshakes.offer(postroom.pool, source, sealed=f"sealed {name}".encode(), fingerprint=name, remote="192.0.2.0/24")


async def names(postroom: Postroom, source: str = "notion") -> list[str]:
    """Newest first."""
    return [row["fingerprint"] for row in await handshakes.every(postroom.pool, source)]


async def everything(postroom: Postroom, handshake_id: int) -> dict[str, Any]:
    (row,) = await postroom.rows("select * from outbox.handshakes where id = $1", handshake_id)
    return row


async def test_candidates_are_bounded_to_the_five_newest_of_a_source(postroom: Postroom) -> None:
    for n in range(8):
        await offer(postroom, f"n{n}")
        await offer(postroom, "other", source="other")
    assert await names(postroom) == ["n7", "n6", "n5", "n4", "n3"]
    assert await names(postroom, "other") == ["other"]


async def test_a_candidate_that_comes_again_is_the_same_and_the_newest_and_drives_no_other_out(postroom: Postroom) -> None:
    ids = [await offer(postroom, f"n{n}") for n in range(5)]
    assert await offer(postroom, "n4") == ids[4]
    assert await names(postroom) == ["n4", "n3", "n2", "n1", "n0"]
    assert await offer(postroom, "n0") == ids[0]
    assert await names(postroom) == ["n0", "n4", "n3", "n2", "n1"]


async def test_a_token_in_use_is_never_touched_by_what_is_offered(postroom: Postroom) -> None:
    used = await offer(postroom, "used")
    assert await handshakes.promote(postroom.pool, "notion", used, by="ada")
    before = await everything(postroom, used)
    for n in range(5):
        await offer(postroom, f"n{n}")
    assert await handshakes.offer(postroom.pool, "notion", sealed=b"forged", fingerprint="used", remote=None) == used
    assert await everything(postroom, used) == before
    assert set(await names(postroom)) == {"used", "n0", "n1", "n2", "n3", "n4"}, "and drives no candidate out"
    assert await handshakes.promoted(postroom.pool, "notion") == [b"sealed used"]


async def test_a_candidate_is_promoted_once_and_beside_those_in_use(postroom: Postroom) -> None:
    old, new = await offer(postroom, "old"), await offer(postroom, "new")
    assert await handshakes.promote(postroom.pool, "notion", old, by="ada")
    assert not await handshakes.promote(postroom.pool, "notion", old, by="eve")
    assert not await handshakes.promote(postroom.pool, "other", new, by="eve")
    assert await handshakes.promote(postroom.pool, "notion", new, by="ada")
    assert await handshakes.promoted(postroom.pool, "notion") == [b"sealed new", b"sealed old"]
    assert (await everything(postroom, old))["promoted_by"] == "ada"


async def test_retiring_ends_the_tokens_in_use_before_and_no_candidate(postroom: Postroom) -> None:
    old, new, candidate = await offer(postroom, "old"), await offer(postroom, "new"), await offer(postroom, "candidate")
    for handshake_id in (old, new):
        await handshakes.promote(postroom.pool, "notion", handshake_id, by="ada")
    assert await handshakes.retire_others(postroom.pool, "notion", new) == 1
    assert await handshakes.retire_others(postroom.pool, "notion", new) == 0
    assert await handshakes.promoted(postroom.pool, "notion") == [b"sealed new"]
    assert await handshakes.sealed(postroom.pool, "notion", old) is None
    assert await handshakes.sealed(postroom.pool, "notion", candidate) == b"sealed candidate"
    assert await handshakes.sealed(postroom.pool, "other", candidate) is None


async def test_a_list_holds_no_secret(postroom: Postroom) -> None:
    await offer(postroom, "n")
    (row,) = await handshakes.every(postroom.pool, "notion")
    assert "sealed" not in set(row.keys())
