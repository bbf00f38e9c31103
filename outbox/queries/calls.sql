-- name: add
-- counts calls that ended since this was last said, into the quarter of an hour that it is.
insert into outbox.calls as c (quarter, destination, bucket, calls, failed)
select date_bin('15 min', now(), '2000-01-01Z'), t.* from unnest($1::text[], $2::smallint[], $3::int[], $4::int[]) t(destination, bucket, calls, failed)
order by destination, bucket
on conflict (quarter, destination, bucket) do update set calls = c.calls + excluded.calls, failed = c.failed + excluded.failed

-- name: prune
-- forgets what nobody is shown any more.
delete from outbox.calls where quarter < now() - interval '2 days'

-- name: day
-- read only: the calls of the last 24 hours, by how long they took, of the $1 destinations with the most; and how many were of the last hour,
-- which is the quarter under way and the three before it.
with day as (
  select destination, bucket, sum(calls)::int calls, sum(failed)::int failed,
         coalesce(sum(calls) filter (where is_late), 0)::int late_calls, coalesce(sum(failed) filter (where is_late), 0)::int late_failed
  from outbox.calls cross join lateral (select quarter > now() - interval '1 hour' is_late) l where quarter > now() - interval '24 hours' group by 1, 2),
most as (select destination from day group by 1 order by sum(calls) desc, 1 limit $1)
select day.destination, day.bucket, day.calls, day.failed, day.late_calls, day.late_failed from day join most using (destination) order by 1, 2
