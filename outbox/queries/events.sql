-- name: stage_many
-- stages a batch in one statement; each input row is answered with its id and whether it was new. Rows with a digest in the
-- keys table, or lost to a concurrent flusher, are not new. Keys go in digest order, or two flushers deadlock; ids are drawn
-- in input order, or a lane is shuffled inside its batch.
with input as materialized (
  select ord, source, kind, key, lane, payload, headers, digest, urgency, nextval('outbox.event_ids') id
  from (select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::uuid[], $8::smallint[]) with ordinality
          t(source, kind, key, lane, payload, headers, digest, urgency, ord) order by ord) t),
fresh as (
  insert into outbox.keys (digest, event_id) select digest, id from input where digest is not null order by digest
  on conflict do nothing returning event_id),
staged as materialized (
  select i.* from input i where i.digest is null or i.id in (select event_id from fresh)),
e as (
  insert into outbox.events (id, source, kind, key, lane, payload, headers)
  select id, source, kind, key, lane, payload, headers from staged order by id),
p as (
  insert into outbox.pending (urgency, lane, event_id)
  select urgency, outbox.lane_of(lane, id), id from staged order by id),
told as materialized (select pg_notify('postroom', ''))
select ord::int, id from staged cross join told

-- name: count_duplicates
-- the first ids of keys that were sent again, each counted as often as it is among $1.
with first as materialized (
  select k.digest, k.event_id, count(*)::int n from unnest($1::uuid[]) again(digest) join outbox.keys k using (digest) group by k.digest, k.event_id),
counted as (
  insert into outbox.duplicates as d (event_id, seen)
  select event_id, n from first order by event_id
  on conflict (event_id) do update set seen = d.seen + excluded.seen, last_at = now())
select digest, event_id from first

-- name: one
-- read only: an event with its state.
select e.id, e.staged_at, e.source, e.kind, e.key, e.lane, e.payload, e.headers, e.trace, e.cause, s.state, s.why, s.until, s.attempts, s.changed_at, s.mark,
       d.seen duplicates, d.last_at last_duplicate_at, b.failures, x.fingerprint,
       r.handler, r.destination, r.deadline_s, r.retries, r.schedule_s, r.covers
from outbox.events e
cross join lateral outbox.states(array[e.id]) s
left join outbox.duplicates d on d.event_id = e.id
left join outbox.busy b on b.lane = outbox.lane_of(e.lane, e.id) and b.event_id = e.id
left join outbox.dead x on x.event_id = e.id
left join outbox.routes r on r.kind = e.kind
where e.id = $1

-- name: is_new
-- read only: was this event staged by the transaction that asks? Every other transaction began at another microsecond.
select staged_at = now() from outbox.events where id = $1

-- name: said
-- read only: what events of any day say.
select id, source, kind, key, lane, payload, staged_at from outbox.events where id = any ($1::bigint[])

-- name: undone
-- read only: ids of undone events, newest first, below id $1. Of pending by one pass over the table, as below.
select id from (
  select event_id id from outbox.pending where attempt >= 0 union all select event_id from outbox.busy
  union all select event_id from outbox.delayed union all select event_id from outbox.dead) u
where $1::bigint is null or id < $1 order by id desc limit $2

-- name: totals
-- read only: P7 as one row: the four add up to the events.
with undone as (
  select 'dead' state, event_id from outbox.dead union all
  select 'pending', event_id from outbox.pending union all select 'pending', event_id from outbox.busy union all select 'pending', event_id from outbox.delayed),
ends as (
  select distinct on (a.event_id) a.event_id, a.outcome from outbox.attempts a order by a.event_id, a.attempt desc, a.outcome in ('d', 's') desc)
select count(*)::int accepted,
       (count(*) filter (where u.state = 'pending'))::int pending,
       (count(*) filter (where u.state = 'dead'))::int dead,
       (count(*) filter (where u.state is null and x.outcome = 'd'))::int done,
       (count(*) filter (where u.state is null and x.outcome = 's'))::int skipped
from outbox.events e left join undone u on u.event_id = e.id left join ends x on x.event_id = e.id

-- name: counts
-- read only: what is undone, by where it waits, the named lanes that are held, the dispatchers that live and the destinations that stand.
-- Never looks at events.
-- attempt is not in the index of pending, which keeps an entry of each settled event while somebody holds a snapshot: a row to look up for each.
select (select count(*)::int from outbox.pending where attempt >= 0) pending,
       busy.running, busy.waiting, busy.held, busy.lanes,
       (select count(*)::int from outbox.delayed) "delayed",
       (select count(*)::int from outbox.dead) dead,
       (select count(*)::int from outbox.workers where ended_at is null and until > now()) workers,
       (select count(*)::int from outbox.destinations where state <> 'flowing') stopped
from (select (count(*) filter (where owner is not null))::int running,
             (count(*) filter (where due_at < 'infinity'))::int waiting,
             (count(*) filter (where due_at = 'infinity'))::int held,
             (count(*) filter (where owner is null and lane <> event_id))::int lanes from outbox.busy) busy

-- name: replay_lock
-- keeps two people from replaying one event at the same moment, and retention from dropping it.
select pg_advisory_xact_lock(7312, hashint8($1)), (select id from outbox.events where id = $1 for key share)

-- name: replay
-- done or skipped -> pending (bulk), unless it is undone already; attempts go on counting.
with e as (select id, outbox.lane_of(lane, id) lane from outbox.events where id = $1),
again as (
  insert into outbox.pending (urgency, attempt, lane, event_id)
  select 1, coalesce((select max(a.attempt) from outbox.attempts a where a.event_id = e.id), 0) + 1, e.lane, e.id from e
  where (select s.state from outbox.states(array[e.id]) s) in ('done', 'skipped')
  returning event_id, attempt)
insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
select event_id, clock_timestamp(), 0, attempt - 1, 0, 'p', $2 from again
returning event_id

-- name: replay_many_lock
-- as replay_lock for several, in one order, so that two who replay the same events do not wait for each other in a circle.
select count(pg_advisory_xact_lock(7312, h)) from (select distinct hashint8(id) h from unnest($1::bigint[]) id order by h) locks

-- name: keep_many
-- keeps retention from dropping events until the caller's transaction ends.
select id from outbox.events where id = any ($1::bigint[]) order by id for key share

-- name: replay_many
-- done or skipped -> pending (bulk), for those that are; attempts go on counting. What is undone is not touched.
with again as (
  insert into outbox.pending (urgency, attempt, lane, event_id)
  select 1, attempt + 1, lane, event_id from outbox.settled($1::bigint[]) order by lane, event_id
  returning event_id, attempt)
insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
select event_id, clock_timestamp(), 0, attempt - 1, 0, 'p', $2 from again
returning event_id

-- name: timeline
-- read only: what happened to one event, oldest first. step is NULL for an attempt; code is that of its table; owner 0 is a person.
select a.started_at at, null::text step, a.outcome::text code, a.attempt, a.took_ms, a.note, a.owner, w.name worker, null::jsonb answer
from outbox.attempts a left join outbox.workers w on w.id = a.owner where a.event_id = $1
union all
select s.at, s.name, s.entry::text, s.attempt, s.took_ms, s.note, null, null, s.answer from outbox.steps s where s.event_id = $1
order by at

-- name: neighbours
-- read only: at most $4 events of a lane on each side of id $2, not below $3, with their states.
with near as materialized (
  (select outbox.in_lane($1, $2, $3, $4) id)
  union all
  (select id from (select outbox.in_lane($1, 9223372036854775807, $2 + 1, 1000) id) n order by id limit $4))
select n.id, e.kind, e.staged_at, s.state, s.why, s.mark, s.changed_at
from near n cross join lateral (select kind, staged_at from outbox.events e where e.id = n.id offset 0) e
cross join lateral (select s.* from outbox.states(array[n.id]) s offset 0) s
order by n.id

-- name: follow_ups
-- read only: at most $4 events that the runs of event $1 staged, oldest first; looked for among the first $5 of each run's ids ($2 to $3).
select distinct x.id from unnest($2::bigint[], $3::bigint[]) run(low, high) cross join lateral (
  select e.id from (select id, cause from outbox.events e where e.id > $1 and e.id >= run.low and e.id < run.high order by e.id limit $5) e
  where e.cause = $1) x
order by x.id limit $4

-- name: marks
-- read only: what events of these ids are, oldest first.
select e.id, e.kind, s.mark from outbox.states($1) s join outbox.events e on e.id = s.event_id order by e.id

-- name: done_after
-- read only: how many of the newest 20 events of a lane above id $2 are done.
select count(*)::int from (select outbox.in_lane($1, 9223372036854775807, $2::bigint + 1, 20) id) n
cross join lateral (select s.state from outbox.states(array[n.id]) s offset 0) s where s.state = 'done'

-- name: notify
-- wakes the workers at commit; a hint, polling is the truth.
select pg_notify('postroom', '')

-- name: fate
-- read only: why there is no event of an id: its day, and whether everything so old is gone.
select date '1970-01-01' + ($1::bigint >> 36)::int as day,
       $1 < coalesce((select min(id) from outbox.events), 0) is_before

-- name: clock
-- read only: the only clock that is compared with a due time or a lease.
select clock_timestamp()
