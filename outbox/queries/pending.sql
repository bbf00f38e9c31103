-- name: claim
-- pending -> busy: the heads of up to $2 free lanes after cursor $3, of urgency $4, for worker $1; the last row says how far it looked,
-- and how many entries of the index it walked over: many more than it found, when dead rows cannot be cleared away.
-- What an event of the days before yesterday says is left out: by the bound, ninety days of tables need not be opened for each claim.
with recursive before as materialized (select pg_stat_get_xact_tuples_returned('outbox.pending_pkey'::regclass) walked),
h as (
  (select p.urgency, p.lane, p.event_id, 1 n from outbox.pending p
   where p.urgency = $4 and p.lane > $3 and (select walked from before) is not null order by p.lane, p.event_id limit 1)
  union all
  select x.urgency, x.lane, x.event_id, h.n + 1 from h cross join lateral (
    select p.urgency, p.lane, p.event_id from outbox.pending p
    where p.urgency = $4 and p.lane > h.lane order by p.lane, p.event_id limit 1) x
  where h.n < $2),
free as materialized (                            -- each head looked up by key: a join could be turned round and read all of pending
  select h.urgency, h.lane, h.event_id, p.attempt from h cross join lateral (
    select p.attempt from outbox.pending p
    where p.urgency = h.urgency and p.lane = h.lane and p.event_id = h.event_id
      and not exists (select from outbox.busy b where b.lane = h.lane)
      and exists (select from outbox.workers w where w.id = $1 and w.ended_at is null)
    for update skip locked offset 0) p),
taken as (
  insert into outbox.busy (lane, event_id, owner, urgency, attempt)
  select lane, event_id, $1, urgency, attempt from free order by lane
  on conflict do nothing returning lane, event_id, urgency, attempt),
gone as (                                         -- by place, looked up by key, for the same reason
  delete from outbox.pending where ctid = any (array(
    select p.place from taken t cross join lateral (
      select p.ctid place from outbox.pending p where p.urgency = $4 and p.lane = t.lane and p.event_id = t.event_id offset 0) p)))
select t.event_id, t.lane, t.urgency, t.attempt, 0 failures, 0::smallint crashes,
       e.source, e.kind, e.key, e.lane lane_name, e.payload, e.staged_at
from taken t
left join lateral (select source, kind, key, lane, payload, staged_at from outbox.events e where e.id = t.event_id
                   and e.id >= outbox.first_id((now() at time zone 'UTC')::date - 1) offset 0) e on true
union all
select (select pg_stat_get_xact_tuples_returned('outbox.pending_pkey'::regclass) - walked from before), (select max(lane) from h), null,
       (select count(*)::int from h), null, null, null, null, null, null, null, null

-- name: take_one
-- pending or due -> busy: the head of lane $1 alone, for worker $2, who works on no other; zero rows: it is at work, waits, or is empty.
with free as materialized (
  select p.urgency, p.lane, p.event_id, p.attempt from outbox.pending p
  where p.urgency in (0, 1) and p.lane = outbox.lane_of($1, 0) and not exists (select from outbox.busy b where b.lane = p.lane)
    and exists (select from outbox.workers w where w.id = $2 and w.ended_at is null)
  order by p.urgency, p.event_id limit 1 for update skip locked),
claimed as (
  insert into outbox.busy (lane, event_id, owner, urgency, attempt) select lane, event_id, $2, urgency, attempt from free
  on conflict do nothing returning lane, event_id, urgency, attempt),
gone as (
  delete from outbox.pending p using claimed c where p.urgency = c.urgency and p.lane = c.lane and p.event_id = c.event_id),
due as (
  update outbox.busy b set owner = $2, due_at = null, why = null, attempt = b.attempt + 1
  where b.lane = outbox.lane_of($1, 0) and b.owner is null and b.due_at <= now()
    and exists (select from outbox.workers w where w.id = $2 and w.ended_at is null)
  returning b.*),
taken as (
  select event_id, lane, urgency, attempt, 0 failures, 0::smallint crashes from claimed
  union all select event_id, lane, urgency, attempt, failures, crashes from due)
select t.*, e.source, e.kind, e.key, e.lane lane_name, e.payload, e.staged_at
from taken t cross join lateral (select source, kind, key, lane, payload, staged_at from outbox.events e where e.id = t.event_id offset 0) e

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
  select ctid place from outbox.delayed where due_at <= now() order by due_at, event_id limit $1 for update skip locked),
due as (
  delete from outbox.delayed where ctid = any (array(select place from first))
  returning urgency, attempt, lane, event_id)
insert into outbox.pending (urgency, attempt, lane, event_id)
select urgency, attempt, lane, event_id from due order by lane, event_id
returning event_id

-- name: next_due
-- read only: is a bulk event pending (only asked when $1), and in how many seconds the next retry or delayed event is due (NULL: none).
select case when $1::bool then exists (select from outbox.pending where urgency = 1) else false end bulk,
       extract(epoch from (select min(due_at) from outbox.busy where owner is null and due_at < 'infinity') - now())::float8 retry_s,
       extract(epoch from (select min(due_at) from outbox.delayed) - now())::float8 delayed_s
