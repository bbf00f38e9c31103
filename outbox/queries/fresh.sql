-- name: claim
-- pending -> busy, as pending's claim, but looking only at events above id $3 (NULL: at the newest thousand), at most $5 of them, and
-- at the heads of lanes $6. It finds them by their ids in events, which has no dead rows: its cost does not grow with those of pending.
-- What is older than yesterday is not looked for, and what such an event says is left out, as there.
with fresh as materialized (
  select e.id, outbox.lane_of(e.lane, e.id) lane from outbox.events e
  where e.id > coalesce($3::bigint, (select last_value - 1000 from outbox.event_ids))
    and e.id >= outbox.first_id((now() at time zone 'UTC')::date - 1) order by e.id limit $5),
there as materialized (                           -- each by its whole key: most are settled already, and cost one look
  select p.lane from fresh f cross join lateral (
    select p.lane from outbox.pending p where p.urgency = $4 and p.lane = f.lane and p.event_id = f.id offset 0) p
  union select lane from unnest($6::bigint[]) lane),
heads as materialized (                           -- of free lanes only: those of busy ones must not use up the $2
  select q.urgency, q.lane, q.event_id from there t cross join lateral (
    select q.urgency, q.lane, q.event_id from outbox.pending q where q.urgency = $4 and q.lane = t.lane order by q.event_id limit 1) q
  where not exists (select from outbox.busy b where b.lane = t.lane offset 0)
  order by q.event_id limit $2),
free as materialized (
  select h.urgency, h.lane, h.event_id, p.attempt from heads h cross join lateral (
    select p.attempt from outbox.pending p where p.urgency = $4 and p.lane = h.lane and p.event_id = h.event_id for update skip locked offset 0) p
  where exists (select from outbox.workers w where w.id = $1 and w.ended_at is null)),
taken as (
  insert into outbox.busy (lane, event_id, owner, urgency, attempt)
  select lane, event_id, $1, urgency, attempt from free order by lane
  on conflict do nothing returning lane, event_id, urgency, attempt),
gone as (
  delete from outbox.pending where ctid = any (array(
    select p.place from taken t cross join lateral (
      select p.ctid place from outbox.pending p where p.urgency = $4 and p.lane = t.lane and p.event_id = t.event_id offset 0) p)))
select t.event_id, t.lane, t.urgency, t.attempt, 0 failures, 0::smallint crashes,
       e.source, e.kind, e.key, e.lane lane_name, e.payload, e.staged_at
from taken t
left join lateral (select source, kind, key, lane, payload, staged_at from outbox.events e where e.id = t.event_id
                   and e.id >= outbox.first_id((now() at time zone 'UTC')::date - 1) offset 0) e on true
union all
select null, coalesce((select max(id) from fresh), $3::bigint, (select last_value - 1000 from outbox.event_ids)), null, (select count(*)::int from fresh), null, null, null, null, null, null, null, null
