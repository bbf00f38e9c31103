"""Calls by how long they took: what is said of them is near to what they took, and only of the last day."""

from hypothesis import given
from hypothesis import strategies as st

from outbox.store import calls
from outbox.store.calls import TOP, Calls, bound_ms, bucket_of, quantile_ms
from outbox.testing import Postroom


@given(st.lists(st.integers(0, 900_000), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_share_of_the_calls_took_no_longer_than_is_said_within_a_bucket(times: list[int], share: float) -> None:
    buckets = sorted(bucket_of(ms) for ms in times)
    said = quantile_ms([(bucket, buckets.count(bucket)) for bucket in sorted(set(buckets))], share)
    true = sorted(times)[max(0, -int(-len(times) * share // 1) - 1)]
    assert bound_ms(bucket_of(true) - 1) <= said <= bound_ms(bucket_of(true))


def test_each_time_has_its_bucket() -> None:
    assert [bucket_of(ms) for ms in (0, 1, 1.5, 2, 3, 10**9)] == [0, 0, 2, 2, 4, TOP]


async def test_a_day_of_calls_is_added_up_by_destination_and_older_ones_are_forgotten(postroom: Postroom) -> None:
    await calls.add(postroom.pool, [("ghl", 10, 19, 1), ("ghl", 20, 1, 1), ("notion", 4, 2, 0)])
    await calls.add(postroom.pool, [("ghl", 10, 80, 0)])
    await postroom.pool.execute(
        "insert into outbox.calls values (now() - interval '25 h', 'ghl', 10, 7, 7), (now() - interval '50 h', 'x', 1, 1, 1)"
    )
    day = await calls.day(postroom.pool)
    assert (day["ghl"].made, day["ghl"].failed) == (100, 2)
    assert bound_ms(9) < day["ghl"].p95_ms < bound_ms(10)
    p95_ms = day["notion"].p95_ms
    assert day["notion"] == Calls(2, 0, p95_ms, hour=Calls(2, 0, p95_ms))
    assert list(await calls.day(postroom.pool, limit=1)) == ["ghl"]
    async with postroom.pool.acquire() as connection:
        await calls.prune(connection)
    assert await postroom.value("select count(*) from outbox.calls where destination = 'x'") == 0
    assert await postroom.value("select sum(calls) from outbox.calls where destination = 'ghl'") == 107
