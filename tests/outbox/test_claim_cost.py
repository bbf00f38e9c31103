"""What a claim costs, in rows and buffers and not in time: the heads it takes, whatever stands behind them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from outbox.queries import load
from outbox.store import lanes
from outbox.testing import Postroom
from tests.outbox.engine import Worker, put, worker

LIMIT = 50


async def stage_many(postroom: Postroom, count: int, *, lane: str) -> None:
    """`lane` is an SQL expression over n."""
    await postroom.pool.execute(f"select outbox.stage('a', '{{}}', lane => {lane}) from generate_series(1, {count}) n")


async def explain(me: Worker, stem: str, name: str, types: str, values: str) -> dict[str, Any]:
    """The plan of a statement with what it really touched, as the engine runs it; rolled back."""
    transaction = me.connection.transaction()
    await transaction.start()
    await me.connection.execute(f"prepare explained ({types}) as {load(stem)[name]}")
    answer = await me.connection.fetchval(f"explain (analyze, buffers, format json) execute explained ({values})")
    await me.connection.execute("deallocate explained")
    await transaction.rollback()
    plan: dict[str, Any] = json.loads(answer)[0]["Plan"]
    return plan


async def explain_claim(me: Worker, *, limit: int = LIMIT) -> dict[str, Any]:
    return await explain(me, "pending", "claim", "bigint, int, bigint, smallint", f"{me.id}, {limit}, '{lanes.LOWEST}', 0")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def scanned(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """(node, table) of every scan of a table."""
    return [(node["Node Type"], node["Relation Name"]) for node in nodes(plan) if "Relation Name" in node and "Scan" in node["Node Type"]]


def rows_touched(plan: dict[str, Any]) -> int:
    """The most rows that any node brought up, those it threw away included."""
    return max(int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]) for node in nodes(plan))


def costliest(plan: dict[str, Any]) -> str:
    """The node that brought up the most, for the message of a failure."""
    node = max(nodes(plan), key=lambda node: int(node["Actual Rows"] * node["Actual Loops"]))
    return json.dumps({name: value for name, value in node.items() if name != "Plans"})


def buffers(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_a_claim_behind_one_lane_of_five_thousand_touches_few_rows(postroom: Postroom) -> None:
    await stage_many(postroom, 5000, lane="'hot'")
    await stage_many(postroom, LIMIT, lane="'chair:' || n")
    async with worker(postroom) as me:
        free = await explain_claim(me)
        (hot,) = [event for event in await me.claim(limit=LIMIT + 1) if event.lane == "hot"]
        assert hot.id == await postroom.value("select min(id) from outbox.events")
        blocked = await explain_claim(me)
    for plan in (free, blocked):
        assert rows_touched(plan) <= 2 * LIMIT, costliest(plan)
        # Each head costs a few pages of pending, busy, keys of busy and events; the 5,000 behind it would cost about 30 more.
        assert buffers(plan) <= 30 * LIMIT
    assert buffers(blocked) < 200, "a lane that is busy costs the look at its head"


@pytest.mark.parametrize("analyzed", [False, True], ids=["statistics of an empty table", "fresh statistics"])
@pytest.mark.parametrize("count", [0, 10_000])
async def test_a_claim_reads_by_index_whatever_the_statistics_say(postroom: Postroom, count: int, analyzed: bool) -> None:
    tables = "outbox.pending, outbox.busy, outbox.events"
    if not analyzed:
        await postroom.pool.execute(f"analyze {tables}")
    if count:
        await stage_many(postroom, count, lane="'chair:' || n % 1000")
    if analyzed:
        await postroom.pool.execute(f"analyze {tables}")
    async with worker(postroom) as me:
        plan = await explain_claim(me)
        found = [(kind, table) for kind, table in scanned(plan) if not table.startswith("workers")]
        assert found
        for kind, table in found:
            assert kind in ("Index Scan", "Index Only Scan", "Tid Scan"), f"{kind} on {table}"
        assert rows_touched(plan) <= 2 * LIMIT, costliest(plan)
        assert len(await me.claim(limit=LIMIT)) == min(count, LIMIT)


async def test_a_claim_reads_the_partition_of_the_event_and_no_other(postroom: Postroom) -> None:
    await put(postroom, "chair:1")
    async with worker(postroom) as me:
        plan = await explain_claim(me)
    read = [
        node["Relation Name"] for node in nodes(plan) if node.get("Relation Name", "").startswith("events_") and node["Actual Loops"] > 0
    ]
    assert len(read) == 1


async def test_settling_and_taking_the_next_grows_with_the_batch_and_not_with_what_waits(postroom: Postroom) -> None:
    await stage_many(postroom, 5000, lane="'chair:' || n % 20")
    async with worker(postroom) as me:
        events = await me.claim(limit=20)
        arrays = (
            f"'{{{','.join(str(event.lane_key) for event in events)}}}', '{{{','.join(str(event.id) for event in events)}}}', "
            f"'{{{','.join(['1'] * 20)}}}', '{{{','.join(['1'] * 20)}}}', {me.id}, '{{{','.join(['1'] * 20)}}}', '{{}}', '{{}}', '{{}}'"
        )
        types = "bigint[], bigint[], float8[], int[], bigint, int[], text[], text[], bool[]"
        plan = await explain(me, "busy", "finish_and_take", types, arrays)
        assert rows_touched(plan) <= 2 * len(events)
        counted, taken = await me.done_and_next(*events)
        assert len(counted) == len(taken) == 20
