"""What the statements of outbox.budgets do to a bucket, as arithmetic: made full, and closed for a time."""

from dataclasses import replace
from datetime import datetime, timedelta

from dispatcher.policy.ratelimit import Bucket, Rate


def full(rate: Rate, *, now: datetime) -> Bucket:
    """The bucket of a credential that nobody has used yet."""
    return Bucket(float(rate.burst), now)


def rest(bucket: Bucket, *, now: datetime, for_s: float) -> Bucket:
    """Closed for so long; never shortens a rest that was already ordered."""
    until = now + timedelta(seconds=for_s)
    return replace(bucket, paused_until=max(until, bucket.paused_until or until))
