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

-- name: looked_to
-- read only: the lowest id, and how many, of the $2 rows that `list` looked at; NULL: there are none.
select min(id) lowest, count(*)::int looked from (
  select e.id from outbox.events e
  where ($1::bigint is null or e.id < $1) and ($3::text is null or e.source = $3) and ($4::text is null or e.kind = $4)
    and ($5::text is null or e.lane = $5) and ($6::text is null or e.key = $6)
  order by e.id desc limit $2) looked

-- name: with_key
-- read only: the events that sources $1 sent under key $2, found by digest and not by looking at every event.
with found as materialized (
  select k.event_id from unnest($1::text[]) s(source) join outbox.keys k on k.digest = outbox.digest(s.source, $2))
select e.id, e.staged_at, e.source, e.kind, e.key, e.lane, s.state, s.why, s.until, s.attempts, s.changed_at
from outbox.events e join outbox.states((select array_agg(event_id) from found)) s on s.event_id = e.id
where e.id in (select event_id from found) order by e.id desc

-- name: is_new
-- read only: was this event staged by the transaction that asks? Every other transaction began at another microsecond.
select staged_at = now() from outbox.events where id = $1

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

-- name: counts
-- read only: what is undone, by where it waits, the dispatchers that live and the destinations that stand. Never looks at events.
select (select count(*)::int from outbox.pending) pending,
       busy.running, busy.waiting, busy.held,
       (select count(*)::int from outbox.delayed) "delayed",
       (select count(*)::int from outbox.dead) dead,
       (select count(*)::int from outbox.workers where ended_at is null and until > now()) workers,
       (select count(*)::int from outbox.destinations where state <> 'flowing') stopped
from (select (count(*) filter (where owner is not null))::int running,
             (count(*) filter (where due_at < 'infinity'))::int waiting,
             (count(*) filter (where due_at = 'infinity'))::int held from outbox.busy) busy

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
-- wakes the workers at commit; a hint, polling is the truth.
select pg_notify('postroom', '')

-- name: clock
-- read only: the only clock that is compared with a due time or a lease.
select clock_timestamp()
