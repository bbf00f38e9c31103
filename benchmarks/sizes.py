"""How much of everything a run does: the whole, and the short form with the same rows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts of events unless the name says otherwise. They are in the results, beside the figures."""

    is_short: bool
    ingest_rounds: int  # of each app, in turns; one more to warm up
    ingest_requests: int  # in a round
    drained: int
    lanes: int
    peer_rounds: int
    pgqueuer: int
    procrastinate: int
    graphile: int
    backlog: int
    backlog_lanes: int
    retries: int
    hot_beside: int
    hot_alone: int
    latency_windows: int
    latency_window_s: float
    replayed: int
    calls: int = 1_000
    calls_at_once: int = 50
    call_ms: int = 200


FULL = Sizes(
    is_short=False,
    ingest_rounds=15,
    ingest_requests=2_000,
    drained=200_000,
    lanes=20_000,
    peer_rounds=3,
    pgqueuer=100_000,
    procrastinate=2_500,
    graphile=200_000,
    backlog=1_000_000,
    backlog_lanes=100_000,
    retries=100_000,
    hot_beside=100_000,
    hot_alone=10_000,
    latency_windows=9,
    latency_window_s=5,
    replayed=100_000,
)
SHORT = Sizes(
    is_short=True,
    ingest_rounds=2,
    ingest_requests=1_000,
    drained=20_000,
    lanes=3_000,
    peer_rounds=1,
    pgqueuer=10_000,
    procrastinate=200,
    graphile=10_000,
    backlog=40_000,
    backlog_lanes=4_000,
    retries=100_000,
    hot_beside=10_000,
    hot_alone=1_000,
    latency_windows=2,
    latency_window_s=2,
    replayed=10_000,
)
