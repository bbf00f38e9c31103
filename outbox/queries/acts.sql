-- name: run_now
-- busy, waiting for a time -> due now; delayed -> due now. What waits for a destination, or runs, stays as it is.
with e as (select id, outbox.lane_of(lane, id) lane from outbox.events where id = $1),
woken as (
  update outbox.busy b set due_at = now() from e
  where b.lane = e.lane and b.event_id = e.id and b.owner is null and b.due_at < 'infinity' returning b.event_id),
gone as (delete from outbox.delayed where event_id = $1 returning event_id, lane, urgency, attempt),
ripe as (insert into outbox.delayed (due_at, event_id, lane, urgency, attempt) select now(), event_id, lane, urgency, attempt from gone returning event_id)
select event_id, pg_notify('postroom', '') from (select event_id from woken union all select event_id from ripe) x

-- name: bury
-- pending, delayed, or busy and waiting -> dead, by a person; its lane goes on without it. What runs is not touched.
with e as (select id, kind, outbox.lane_of(lane, id) lane from outbox.events where id = $1),
head as (
  delete from outbox.busy b using e where b.lane = e.lane and b.event_id = e.id and b.owner is null returning b.lane, b.urgency, b.attempt),
queued as (
  delete from outbox.pending p using e where p.urgency in (0, 1) and p.lane = e.lane and p.event_id = e.id
  returning p.lane, p.urgency, p.attempt - 1 attempt),
later as (delete from outbox.delayed y where y.event_id = $1 returning y.lane, y.urgency, y.attempt - 1 attempt),
gone as (select * from head union all select * from queued union all select * from later),
grave as (
  insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason)
  select e.id, g.lane, g.urgency, g.attempt, left(md5('buried:' || e.kind), 8), $2 from gone g cross join e returning event_id, attempt),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select event_id, clock_timestamp(), 0, attempt, 0, 'x', $2 from grave)
select event_id, pg_notify('postroom', '') from grave

-- name: release
-- busy, waiting for a time -> delayed until then: its lane goes on without it, and it joins the lane again when it is due.
with e as (select id, outbox.lane_of(lane, id) lane from outbox.events where id = $1),
head as (
  delete from outbox.busy b using e
  where b.lane = e.lane and b.event_id = e.id and b.owner is null and b.due_at < 'infinity'
  returning b.event_id, b.lane, b.urgency, b.attempt, b.due_at),
later as (
  insert into outbox.delayed (due_at, event_id, lane, urgency, attempt)
  select due_at, event_id, lane, urgency, attempt + 1 from head returning event_id),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select event_id, clock_timestamp(), 0, attempt, 0, 'p', $2 from head)
select event_id, pg_notify('postroom', '') from later

-- name: behind
-- read only: how many wait behind an event in its lane, at most 1001.
select count(*)::int from (
  select from outbox.events e join outbox.pending p on p.urgency in (0, 1) and p.lane = outbox.lane_of(e.lane, e.id) and p.event_id <> e.id
  where e.id = $1 limit 1001) x

-- name: waiting
-- read only: what of a lane holds it or waits in it, in the order in which it runs: its head, live work, then bulk; at most $2.
with line as materialized (
  select event_id, row_number() over (order by place, event_id) turn from (
    select b.event_id, -1 place from outbox.busy b where b.lane = outbox.lane_of($1, null)
    union all
    (select p.event_id, 0 from outbox.pending p where p.urgency = 0 and p.lane = outbox.lane_of($1, null) order by p.event_id limit $2)
    union all
    (select p.event_id, 1 from outbox.pending p where p.urgency = 1 and p.lane = outbox.lane_of($1, null) order by p.event_id limit $2)) x
  order by turn limit $2)
select e.id, e.staged_at, e.source, e.kind, e.key, e.lane, s.state, s.why, s.until, s.attempts, s.changed_at, s.mark
from outbox.states(array(select event_id from line)) s join line l on l.event_id = s.event_id
cross join lateral (select id, staged_at, source, kind, key, lane from outbox.events e where e.id = l.event_id offset 0) e
where e.lane = $1 order by l.turn

-- name: head
-- read only: the event that holds a lane.
select event_id from outbox.busy where lane = outbox.lane_of($1, null)
