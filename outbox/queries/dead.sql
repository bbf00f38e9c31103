-- name: list
-- read only: newest first, below id $1, at most $2; NULL filters do not filter.
select d.event_id id, d.died_at, d.attempt, d.fingerprint, d.reason, e.staged_at, e.source, e.kind, e.key, e.lane
from outbox.dead d join outbox.events e on e.id = d.event_id
where ($1::bigint is null or d.event_id < $1) and ($3::text is null or e.kind = $3) and ($4::text is null or e.source = $4)
  and ($5::text is null or e.lane = $5) and ($6::text is null or d.fingerprint = $6)
  and ($7::timestamptz is null or d.died_at >= $7) and ($8::timestamptz is null or d.died_at < $8)
order by d.event_id desc limit $2

-- name: count
-- read only: how many a filter finds (up to id $7, if it is given), over how many lanes, since when.
select count(*)::int dead, count(distinct d.lane)::int lanes, min(d.died_at) first_died_at, max(d.event_id) ceiling
from outbox.dead d join outbox.events e on e.id = d.event_id
where ($1::text is null or e.kind = $1) and ($2::text is null or e.source = $2)
  and ($3::text is null or e.lane = $3) and ($4::text is null or d.fingerprint = $4)
  and ($5::timestamptz is null or d.died_at >= $5) and ($6::timestamptz is null or d.died_at < $6)
  and ($7::bigint is null or d.event_id <= $7)

-- name: portion
-- read only: the ids of the next $9 that a filter finds, oldest first, above id $8 and not above the ceiling $7.
select d.event_id id from outbox.dead d join outbox.events e on e.id = d.event_id
where ($1::text is null or e.kind = $1) and ($2::text is null or e.source = $2)
  and ($3::text is null or e.lane = $3) and ($4::text is null or d.fingerprint = $4)
  and ($5::timestamptz is null or d.died_at >= $5) and ($6::timestamptz is null or d.died_at < $6)
  and d.event_id <= $7 and d.event_id > $8
order by d.event_id limit $9

-- name: groups
-- read only: dead letters by cause ($2: only this one), the newest death first; the example is the newest event.
with g as (
  select fingerprint, count(*)::int dead, count(distinct lane)::int lanes, min(died_at) first_at, max(died_at) last_at, max(event_id) example
  from outbox.dead where $2::text is null or fingerprint = $2 group by fingerprint order by max(died_at) desc limit $1)
select g.fingerprint, g.dead, g.lanes, g.first_at, g.last_at, g.example, d.reason, e.kind, r.destination,
       n.note, n.by_whom note_by, n.at note_at
from g join outbox.dead d on d.event_id = g.example
cross join lateral (select kind from outbox.events e where e.id = g.example offset 0) e
left join outbox.routes r on r.kind = e.kind left join outbox.notes n on n.fingerprint = g.fingerprint
order by g.last_at desc

-- name: sparks
-- read only: deaths of the last 24 hours in each group, by hours back from now (0: the last one).
select fingerprint, floor(extract(epoch from now() - died_at) / 3600)::int hours, count(*)::int dead
from outbox.dead where died_at > now() - interval '24 hours' and ($1::text is null or fingerprint = $1) group by 1, 2

-- name: finished
-- read only: finished steps of the newest $2 dead letters of each of groups $1, by name, and of how many events.
select g.fingerprint, s.name, count(*)::int steps from unnest($1::text[]) g(fingerprint)
cross join lateral (select event_id from outbox.dead where fingerprint = g.fingerprint order by event_id desc limit $2) d
cross join lateral (select name from outbox.steps where event_id = d.event_id and entry in ('d', 'f') offset 0) s
group by g.fingerprint, s.name order by 1, 3 desc, 2

-- name: samples
-- read only: what the newest $2 dead letters of a group look like.
select d.event_id id, e.kind, e.source, e.payload from (select event_id from outbox.dead where fingerprint = $1 order by event_id desc limit $2) d
cross join lateral (select kind, source, payload from outbox.events e where e.id = d.event_id offset 0) e

-- name: one
-- read only: a dead letter.
select d.event_id id, d.died_at, d.attempt, d.fingerprint, d.reason, e.staged_at, e.source, e.kind, e.key, e.lane
from outbox.dead d join outbox.events e on e.id = d.event_id where d.event_id = $1

-- name: retry
-- dead -> pending (bulk), attempts kept; a finished step stays finished. What is no longer dead is not touched.
with gone as (delete from outbox.dead where event_id = any ($1::bigint[]) returning event_id, lane, attempt),
again as (
  insert into outbox.pending (urgency, attempt, lane, event_id) select 1, attempt + 1, lane, event_id from gone order by lane, event_id),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select event_id, clock_timestamp(), 0, attempt, 0, 'p', $2 from gone)
select event_id from gone order by event_id

-- name: discard
-- dead -> skipped, with the reason.
with gone as (delete from outbox.dead where event_id = any ($1::bigint[]) returning event_id, attempt),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select event_id, clock_timestamp(), 0, attempt, 0, 's', $2 from gone)
select event_id from gone order by event_id
