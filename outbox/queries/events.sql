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
-- the first ids of keys that were sent again, each counted.
with first as (select digest, event_id from outbox.keys where digest = any ($1::uuid[])),
counted as (
  insert into outbox.duplicates as d (event_id)
  select distinct event_id from first order by event_id
  on conflict (event_id) do update set seen = d.seen + 1, last_at = now())
select digest, event_id from first

-- name: one
-- read only: an event with its state.
select e.id, e.staged_at, e.source, e.kind, e.key, e.lane, e.payload, e.headers, e.trace, s.state, s.why, s.until, s.attempts, s.changed_at,
       d.seen duplicates, d.last_at last_duplicate_at
from outbox.events e
cross join lateral outbox.states(array[e.id]) s
left join outbox.duplicates d on d.event_id = e.id
where e.id = $1

-- name: list
-- read only: newest first, below id $1, at most $2; NULL filters do not filter. $7 states, from at most $8 rows looked at.
with looked as materialized (
  select e.id, e.staged_at, e.source, e.kind, e.key, e.lane from outbox.events e
  where ($1::bigint is null or e.id < $1) and ($3::text is null or e.source = $3) and ($4::text is null or e.kind = $4)
    and ($5::text is null or e.lane = $5) and ($6::text is null or e.key = $6)
  order by e.id desc limit $8)
select l.id, l.staged_at, l.source, l.kind, l.key, l.lane, s.state, s.why, s.until, s.attempts, s.changed_at
from looked l join outbox.states((select array_agg(id) from looked)) s on s.event_id = l.id
where $7::text[] is null or s.state = any ($7)
order by l.id desc limit $2

-- name: undone
-- read only: ids of undone events, newest first, below id $1.
select id from (
  select event_id id from outbox.pending union all select event_id from outbox.busy
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

-- name: timeline
-- read only: what happened to one event, oldest first. step is NULL for an attempt; code is that of its table; owner 0 is a person.
select a.started_at at, null::text step, a.outcome::text code, a.attempt, a.took_ms, a.note, a.owner, w.name worker, null::jsonb answer
from outbox.attempts a left join outbox.workers w on w.id = a.owner where a.event_id = $1
union all
select s.at, s.name, s.entry::text, s.attempt, s.took_ms, s.note, null, null, s.answer from outbox.steps s where s.event_id = $1
order by at

-- name: notify
select pg_notify('postroom', '')

-- name: clock
select clock_timestamp()
