-- name: claim
-- pending -> busy: the heads of up to $2 free lanes after cursor $3, of urgency $4, for worker $1; the last row says how far it looked.
with recursive h as (
  (select p.urgency, p.lane, p.event_id, 1 n from outbox.pending p where p.urgency = $4 and p.lane > $3 order by p.lane, p.event_id limit 1)
  union all
  select x.urgency, x.lane, x.event_id, h.n + 1 from h cross join lateral (
    select p.urgency, p.lane, p.event_id from outbox.pending p
    where p.urgency = $4 and p.lane > h.lane order by p.lane, p.event_id limit 1) x
  where h.n < $2),
free as materialized (
  select p.urgency, p.lane, p.event_id, p.attempt from h join outbox.pending p using (urgency, lane, event_id)
  where not exists (select from outbox.busy b where b.lane = h.lane)
    and exists (select from outbox.workers w where w.id = $1 and w.ended_at is null)
  for update of p skip locked),
taken as (
  insert into outbox.busy (lane, event_id, owner, urgency, attempt)
  select lane, event_id, $1, urgency, attempt from free order by lane
  on conflict do nothing returning lane, event_id, urgency, attempt),
gone as (                                         -- by place, looked up by key: a join could be turned round and read all of pending for each head
  delete from outbox.pending where ctid = any (array(
    select p.place from taken t cross join lateral (
      select p.ctid place from outbox.pending p where p.urgency = $4 and p.lane = t.lane and p.event_id = t.event_id offset 0) p)))
select t.event_id, t.lane, t.urgency, t.attempt, 0 failures, 0::smallint crashes,
       e.source, e.kind, e.key, e.lane lane_name, e.payload, e.staged_at
from taken t
cross join lateral (select source, kind, key, lane, payload, staged_at from outbox.events e where e.id = t.event_id offset 0) e
union all
select null, (select max(lane) from h), null, (select count(*)::int from h), null, null, null, null, null, null, null, null

-- name: followers
-- read only: what waits in these lanes behind a claimed head, in order, at most $3 a lane (coalescing).
select p.lane, p.event_id, e.kind
from unnest($1::bigint[], $2::smallint[]) l(lane, urgency)
cross join lateral (
  select p.lane, p.event_id from outbox.pending p
  where p.urgency = l.urgency and p.lane = l.lane order by p.event_id limit $3) p
cross join lateral (select kind from outbox.events e where e.id = p.event_id offset 0) e
order by p.lane, p.event_id

-- name: promote_delayed
-- delayed -> pending: those that are due, oldest first, by whoever gets them.
with first as materialized (                       -- or a nested loop asks for the next $1 again and again
  select due_at, event_id from outbox.delayed where due_at <= now() order by due_at, event_id limit $1 for update skip locked),
due as (
  delete from outbox.delayed d using first x
  where d.due_at = x.due_at and d.event_id = x.event_id
  returning d.urgency, d.attempt, d.lane, d.event_id)
insert into outbox.pending (urgency, attempt, lane, event_id)
select urgency, attempt, lane, event_id from due order by lane, event_id
returning event_id

-- name: next_due
-- read only: is anything ready, and in how many seconds the next retry or delayed event is due (NULL: none).
select exists (select from outbox.pending) ready,
       extract(epoch from (select min(due_at) from outbox.busy where owner is null and due_at < 'infinity') - now())::float8 retry_s,
       extract(epoch from (select min(due_at) from outbox.delayed) - now())::float8 delayed_s
