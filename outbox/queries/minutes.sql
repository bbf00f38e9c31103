-- name: add
-- counts what a dispatcher settled since it last said so, into the minutes in which that was.
insert into outbox.minutes as m (minute, kind, done, skipped, dead, failures, settled_ms, late)
select * from unnest($1::timestamptz[], $2::text[], $3::int[], $4::int[], $5::int[], $6::int[], $7::bigint[], $8::int[]) t(minute, kind, done, skipped, dead, failures, settled_ms, late)
order by minute, kind
on conflict (minute, kind) do update
set done = m.done + excluded.done, skipped = m.skipped + excluded.skipped, dead = m.dead + excluded.dead,
    failures = m.failures + excluded.failures, settled_ms = m.settled_ms + excluded.settled_ms, late = m.late + excluded.late

-- name: begin_arrivals
-- the row that says how far arrivals are counted, on first use.
insert into outbox.arrivals_counted default values on conflict do nothing

-- name: count_arrivals
-- counts the events up to where the last call saw them, each once, and notes down how far the next call may go, at most $1 further.
-- Ids are drawn before they are committed, so nothing is counted while a transaction is open that began before they were seen; one that
-- stays open for 10 minutes is not waited for.
with was as (
  select next_id, upto from outbox.arrivals_counted
  where pg_snapshot_xmin(pg_current_snapshot()) > horizon and at < now() - interval '1 s' or at < now() - interval '10 min'
  for update),
counted as (
  insert into outbox.arrivals as a (minute, source, accepted)
  select date_trunc('minute', e.staged_at), e.source, count(*)::int from was join outbox.events e on e.id >= was.next_id and e.id < was.upto
  group by 1, 2 order by 1, 2
  on conflict (minute, source) do update set accepted = a.accepted + excluded.accepted)
update outbox.arrivals_counted c
set next_id = was.upto, horizon = pg_snapshot_xmax(pg_current_snapshot()), at = now(),
    upto = coalesce((select max(id) + 1 from (select id from outbox.events where id >= was.upto order by id limit $1) ahead), was.upto)
from was returning c.next_id, c.upto

-- name: prune
-- forgets minutes that are over $1 days old.
with a as (delete from outbox.arrivals where minute < now() - $1::int * interval '1 day')
delete from outbox.minutes where minute < now() - $1::int * interval '1 day'

-- name: settled
-- read only: what was settled in the last $1 seconds.
select coalesce(sum(done), 0)::int done, coalesce(sum(skipped), 0)::int skipped, coalesce(sum(dead), 0)::int dead,
       coalesce(sum(failures), 0)::int failures, coalesce(sum(settled_ms), 0)::bigint settled_ms, coalesce(sum(late), 0)::int late
from outbox.minutes where minute > now() - $1::float8 * interval '1 s'

-- name: before
-- read only: what was accepted and settled in the $1 seconds before the last $1 seconds.
select (select coalesce(sum(accepted), 0) from outbox.arrivals
        where minute > now() - 2 * $1::float8 * interval '1 s' and minute <= now() - $1::float8 * interval '1 s')::int accepted,
       coalesce(sum(done), 0)::int done, coalesce(sum(skipped), 0)::int skipped, coalesce(sum(dead), 0)::int dead,
       coalesce(sum(failures), 0)::int failures, coalesce(sum(settled_ms), 0)::bigint settled_ms, coalesce(sum(late), 0)::int late
from outbox.minutes where minute > now() - 2 * $1::float8 * interval '1 s' and minute <= now() - $1::float8 * interval '1 s'

-- name: accepted
-- read only: how many events were accepted in the last $1 seconds, those that are not counted yet included.
select (select coalesce(sum(accepted), 0) from outbox.arrivals where minute > now() - $1::float8 * interval '1 s')::int
     + (select count(*) from (select from outbox.events e where e.id >= coalesce((select next_id from outbox.arrivals_counted), 0)
                              and e.staged_at > now() - $1::float8 * interval '1 s' limit 100000) fresh)::int accepted

-- name: sources
-- read only: who staged an event in the last day, 100 at most.
select distinct source from outbox.arrivals where minute > now() - interval '1 day' order by source limit 100

-- name: bars
-- read only: the last $1 bars of $2 seconds each, oldest first; the last one is still in progress.
with bars as (
  select date_bin($2::int * interval '1 s', now(), '2000-01-01Z') - n * $2::int * interval '1 s' as at from generate_series(0, $1::int - 1) n)
select b.at, coalesce(a.accepted, 0)::int accepted, coalesce(m.done, 0)::int done, coalesce(m.skipped, 0)::int skipped,
       coalesce(m.dead, 0)::int dead, coalesce(m.failures, 0)::int failures, coalesce(m.settled_ms, 0)::bigint settled_ms, coalesce(m.late, 0)::int late
from bars b
left join lateral (select sum(accepted) accepted from outbox.arrivals where minute >= b.at and minute < b.at + $2::int * interval '1 s') a on true
left join lateral (select sum(done) done, sum(skipped) skipped, sum(dead) dead, sum(failures) failures, sum(settled_ms) settled_ms, sum(late) late
                   from outbox.minutes where minute >= b.at and minute < b.at + $2::int * interval '1 s') m on true
order by b.at
