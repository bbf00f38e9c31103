-- name: finish
-- busy -> done or skipped, only for this owner and attempt; what comes back did count. $5 is the worker; $3 epoch seconds.
-- Empty arrays of outcomes and notes: all are done, without a note.
with s as (
  select * from unnest($1::bigint[], $2::bigint[], $3::float8[], $4::int[], $6::int[], $7::text[], $8::text[])
    t(lane, id, started, took_ms, attempt, outcome, note)),
held as materialized (                            -- looked up by key, deleted by place: a join could be turned round and grow with the square
  select s.*, b.place from s cross join lateral (
    select b.ctid place from outbox.busy b
    where b.lane = s.lane and b.event_id = s.id and b.owner = $5 and b.attempt = s.attempt for update offset 0) b),
gone as (delete from outbox.busy where ctid = any (array(select place from held))),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select id, to_timestamp(started), $5, attempt, took_ms, coalesce(outcome, 'd')::"char", note from held)
select array_agg(id) from held

-- name: finish_with_followers
-- as finish, and the followers that a head took with it ($9: its ids as text, NULL for none) leave pending as skipped "coalesced into",
-- in the same statement. A follower that somebody else has locked stays and is handled by itself.
with s as (
  select * from unnest($1::bigint[], $2::bigint[], $3::float8[], $4::int[], $6::int[], $7::text[], $8::text[], $9::text[])
    t(lane, id, started, took_ms, attempt, outcome, note, followers)),
held as materialized (
  select s.*, b.place, b.urgency from s cross join lateral (
    select b.ctid place, b.urgency from outbox.busy b
    where b.lane = s.lane and b.event_id = s.id and b.owner = $5 and b.attempt = s.attempt for update offset 0) b),
covered as materialized (
  select h.id head, p.* from held h
  cross join lateral unnest(h.followers::bigint[]) f(id)
  cross join lateral (
    select p.ctid place, p.event_id, p.attempt from outbox.pending p
    where p.urgency = h.urgency and p.lane = h.lane and p.event_id = f.id for update skip locked offset 0) p),
gone as (delete from outbox.busy where ctid = any (array(select place from held))),
swept as (delete from outbox.pending where ctid = any (array(select place from covered))),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select id, to_timestamp(started), $5, attempt, took_ms, coalesce(outcome, 'd')::"char", note from held
  union all
  select event_id, clock_timestamp(), $5, attempt, 0, 's', 'coalesced into #' || head from covered)
select array_agg(id) from held

-- name: finish_and_take
-- as finish, and where $9 says so (an empty array: everywhere) the worker keeps the lane for its next event, if there is one. As in a claim,
-- what an event of the days before yesterday says is left out.
with s as (
  select * from unnest($1::bigint[], $2::bigint[], $3::float8[], $4::int[], $6::int[], $7::text[], $8::text[], $9::bool[])
    t(lane, id, started, took_ms, attempt, outcome, note, take)),
held as materialized (                            -- each row looks its busy row and its lane's next up by key: nothing here grows with the square
  select s.*, b.place, b.urgency, n.place next_place, n.event_id next_id, n.attempt next_attempt
  from s
  cross join lateral (
    select b.ctid place, b.urgency from outbox.busy b
    where b.lane = s.lane and b.event_id = s.id and b.owner = $5 and b.attempt = s.attempt for update offset 0) b
  left join lateral (
    select p.ctid place, p.event_id, p.attempt from outbox.pending p
    where coalesce(s.take, true)
      and p.ctid = (select q.ctid from outbox.pending q where q.urgency = b.urgency and q.lane = s.lane order by q.event_id limit 1)
      and (b.urgency = 0 or not exists (select from outbox.pending u where u.urgency = 0 and u.lane = s.lane))
      and exists (select from outbox.workers w where w.id = $5 and w.ended_at is null)
    for update skip locked) n on true),           -- the head or nothing: what stands behind a locked head must not overtake it
moved as (
  update outbox.busy b set event_id = h.next_id, attempt = h.next_attempt, failures = 0, crashes = 0, why = null
  from held h where b.ctid = h.place and h.next_id is not null),
gone as (delete from outbox.busy where ctid = any (array(select place from held where next_id is null))),
pulled as (delete from outbox.pending where ctid = any (array(select next_place from held where next_id is not null))),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select id, to_timestamp(started), $5, attempt, took_ms, coalesce(outcome, 'd')::"char", note from held)
select h.id settled, h.next_id event_id, h.lane, h.urgency, h.next_attempt attempt, 0 failures, 0::smallint crashes,
       e.source, e.kind, e.key, e.lane lane_name, e.payload, e.staged_at
from held h
left join lateral (select source, kind, key, lane, payload, staged_at from outbox.events e where e.id = h.next_id
                   and e.id >= outbox.first_id((now() at time zone 'UTC')::date - 1) offset 0) e on true

-- name: wait
-- busy stays busy, without an owner until due: a retry (charge 1), a snooze or a hold (charge 0; NULL seconds: until the destination flows).
-- The lane stays blocked. Only for this owner and attempt; $5 is the worker; an outcome of NULL leaves no attempt row.
with s as (
  select * from unnest($1::bigint[], $2::bigint[], $3::float8[], $4::int[], $6::int[], $7::text[], $8::text[], $9::float8[], $10::int[], $11::int[])
    t(lane, id, started, took_ms, attempt, outcome, why, delay_s, charge, next_attempt)),
held as materialized (
  select s.*, b.place from s cross join lateral (
    select b.ctid place from outbox.busy b
    where b.lane = s.lane and b.event_id = s.id and b.owner = $5 and b.attempt = s.attempt for update offset 0) b),
waits as (
  update outbox.busy b
  set owner = null, attempt = h.next_attempt, failures = b.failures + h.charge, why = h.why,
      due_at = case when h.delay_s is null then 'infinity' else now() + h.delay_s * interval '1 s' end
  from held h where b.ctid = h.place),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select id, to_timestamp(started), $5, attempt, took_ms, outcome::"char", why from held where outcome is not null)
select array_agg(id) from held

-- name: bury
-- busy -> dead; the lane is free. Only for this owner and attempt; $5 is the worker.
with s as (
  select * from unnest($1::bigint[], $2::bigint[], $3::float8[], $4::int[], $6::int[], $7::text[], $8::text[])
    t(lane, id, started, took_ms, attempt, fingerprint, reason)),
held as materialized (
  select s.*, b.place, b.urgency from s cross join lateral (
    select b.ctid place, b.urgency from outbox.busy b
    where b.lane = s.lane and b.event_id = s.id and b.owner = $5 and b.attempt = s.attempt for update offset 0) b),
gone as (delete from outbox.busy where ctid = any (array(select place from held))),
grave as (
  insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason)
  select id, lane, urgency, attempt, fingerprint, reason from held),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select id, to_timestamp(started), $5, attempt, took_ms, 'x', reason from held)
select array_agg(id) from held

-- name: take_due
-- busy, waiting -> running: those whose wait is over, oldest first. What killed its process twice runs one at a time ($3).
with due as materialized (
  (select b.ctid place from outbox.busy b where b.owner is null and b.due_at <= now() and b.crashes < 2
     and exists (select from outbox.workers w where w.id = $1 and w.ended_at is null)
   order by b.due_at limit $2 for update skip locked)),
suspects as materialized (
  select b.ctid place from outbox.busy b where $3 and b.owner is null and b.due_at <= now() and b.crashes >= 2
     and exists (select from outbox.workers w where w.id = $1 and w.ended_at is null)
   order by b.due_at limit 1 for update skip locked),
taken as (
  update outbox.busy b set owner = $1, due_at = null, why = null, attempt = b.attempt + 1
  where b.ctid = any (array(select place from due union all select place from suspects))  -- and nothing else, or an index is preferred
  returning b.*)
select t.event_id, t.lane, t.urgency, t.attempt, t.failures, t.crashes,
       e.source, e.kind, e.key, e.lane lane_name, e.payload, e.staged_at
from taken t cross join lateral (select source, kind, key, lane, payload, staged_at from outbox.events e where e.id = t.event_id offset 0) e

-- name: hand_back
-- busy, running -> waiting and due at once, attempt as before: what a stopping worker did not finish.
update outbox.busy set owner = null, due_at = now(), attempt = attempt - 1, why = 'handed back by a stopping worker'
where owner = $1 returning event_id

-- name: strays
-- read only: what runs at worker $1 without being among what it knows ($2).
select event_id, attempt from outbox.busy where owner = $1 and not (event_id = any ($2::bigint[]))

-- name: hand_back_strays
-- busy, running -> waiting and due at once, attempt as before: what worker $1 was given without being told.
update outbox.busy b set owner = null, due_at = now(), attempt = b.attempt - 1, why = 'the answer to its claim was lost'
from unnest($2::bigint[], $3::int[]) s(id, attempt) where b.owner = $1 and b.event_id = s.id and b.attempt = s.attempt
returning b.event_id

-- name: hold_lock
-- does this owner still hold this attempt? Locks the row until the transaction ends.
select true from outbox.busy where lane = $1 and event_id = $2 and owner = $3 and attempt = $4 for update

-- name: progress
-- busy, running: it has come farther, so what failed before counts no more. Only for this owner and attempt; locks the row as hold_lock does.
update outbox.busy set failures = 0, crashes = 0 where lane = $1 and event_id = $2 and owner = $3 and attempt = $4 returning true

-- name: release_held
-- busy, held -> due now: the $2 oldest that wait for destination $1, live ones first, of urgencies $3 to $4.
-- The rows are there: their conflict finds each by its key, whatever the settings and statistics of the connection, where a join would be
-- turned round and compare all that is held with each of them. Materialized, or a nested loop asks for the next $2 again and again.
with oldest as materialized (
  select lane, event_id, urgency, attempt from outbox.busy where owner is null and due_at = 'infinity' and why = $1 and urgency between $3 and $4
  order by urgency, event_id limit $2 for update skip locked)
insert into outbox.busy as b (lane, event_id, urgency, attempt, due_at)
select lane, event_id, urgency, attempt, now() from oldest
on conflict (lane) do update set due_at = now() where b.owner is null and b.due_at = 'infinity'
returning b.event_id

-- name: release_probe
-- busy, held -> due now: the next that waits for destination $1 behind event $2, or the first again.
update outbox.busy set due_at = now()
where lane in (select lane from (
                 (select lane, false again, event_id from outbox.busy where owner is null and due_at = 'infinity' and why = $1 and event_id > $2
                  order by event_id limit 1)
                 union all
                 (select lane, true, event_id from outbox.busy where owner is null and due_at = 'infinity' and why = $1
                  order by event_id limit 1)
                 order by again limit 1) next)
  and owner is null and due_at = 'infinity'
returning event_id

-- name: held
-- read only: how many wait for each destination, and whether bulk work is among them.
select why, count(*)::int waiting, min(event_id) oldest, bool_or(urgency > 0) bulk from outbox.busy where owner is null and due_at = 'infinity' group by why

-- name: bury_poison
-- busy of dead workers -> dead: what was at work each time its process died, the third time.
with orphans as materialized (
  select b.ctid place, b.* from outbox.busy b
  where b.owner is not null and b.crashes >= 2 and not exists (select from outbox.workers w where w.id = b.owner and w.ended_at is null)
  for update of b skip locked),
gone as (delete from outbox.busy where ctid = any (array(select place from orphans))),
grave as (
  insert into outbox.dead (event_id, lane, urgency, attempt, fingerprint, reason)
  select event_id, lane, urgency, attempt, 'poison', 'killed its process ' || crashes + 1 || ' times' from orphans),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select event_id, clock_timestamp(), owner, attempt, 0, 'x', 'killed its process ' || crashes + 1 || ' times' from orphans)
select event_id from orphans

-- name: release_orphans
-- busy of dead workers -> waiting and due at once, one crash more. By conflict, as release_held: one pass over busy, never one for each.
with orphans as materialized (
  select b.* from outbox.busy b
  where b.owner is not null and not exists (select from outbox.workers w where w.id = b.owner and w.ended_at is null)
  for update of b skip locked),
freed as (
  insert into outbox.busy as b (lane, event_id, urgency, attempt, due_at)
  select lane, event_id, urgency, attempt, now() from orphans
  on conflict (lane) do update set owner = null, due_at = now(), crashes = b.crashes + 1, why = 'its worker was lost'),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select event_id, clock_timestamp(), owner, attempt, 0, 'c', 'its worker was lost' from orphans)
select event_id from orphans

-- name: orphan_owners
-- read only: dead workers that still own rows, because their frozen client holds a lock on them.
select distinct b.owner from outbox.busy b
where b.owner is not null and not exists (select from outbox.workers w where w.id = b.owner and w.ended_at is null)

-- name: held_long
-- read only: how many named lanes wait, but for no destination, behind a head that was accepted before id $1.
select count(*)::int from outbox.busy where owner is null and due_at < 'infinity' and lane <> event_id and event_id < $1

-- name: blocked
-- read only: named lanes that are not free, by the age of the event at their head, above id $1, at most $2; $3: only those whose head waits;
-- $4: only with heads below this id; $5: only those that wait for their destination (false: that do not). Behind a head at most 1001 are
-- counted. since: when its head was first run, or was retried or replayed, or else was staged.
with heads as materialized (
  select b.lane, b.event_id, b.urgency, b.owner, b.due_at, b.attempt, b.why from outbox.busy b
  where b.event_id > $1 and b.lane <> b.event_id and (not $3 or b.owner is null)
    and ($4::bigint is null or b.event_id < $4) and ($5::bool is null or $5 = (coalesce(b.due_at, now()) = 'infinity'))
  order by b.event_id limit $2),
runs as materialized (                            -- of all heads in one go: each look into attempts alone reads many pages for few rows
  select a.event_id, max(a.started_at) filter (where a.outcome = 'p') again_at, min(a.started_at) first_at,
         (array_agg(a.outcome order by a.attempt desc, a.started_at desc))[1] last
  from outbox.attempts a
  where a.event_id = any (array(select event_id from heads)) and a.event_id between (select min(event_id) from heads) and (select max(event_id) from heads)
  group by a.event_id)
select e.lane, h.event_id, e.kind, case when h.owner is null then coalesce(h.why, 'waiting') else 'running' end why, w.name worker,
       nullif(h.due_at, 'infinity') until, coalesce(runs.again_at, runs.first_at, e.staged_at) since, h.attempt, behind.n waiting,
       case when h.owner is not null then 'running' when h.due_at = 'infinity' then 'held' when runs.last = 'z' then 'snoozed' else 'retry' end mark
from heads h
cross join lateral (select lane, kind, staged_at from outbox.events e where e.id = h.event_id offset 0) e
left join outbox.workers w on w.id = h.owner
left join runs on runs.event_id = h.event_id
cross join lateral (
  select count(*)::int n from (select from outbox.pending p where p.urgency in (0, 1) and p.lane = h.lane limit 1001) x) behind
order by h.event_id

-- name: wake
-- busy, waiting -> due now: in the lanes of these names, what waits with a reason that begins with $2. What somebody settles at this moment
-- is left alone: its own wait is short.
update outbox.busy set due_at = now()
where lane in (select b.lane from outbox.busy b
               where b.lane = any (array(select outbox.lane_of(name, 0) from unnest($1::text[]) name)) and b.owner is null and b.due_at < 'infinity' and b.why like $2 || '%'
               for update skip locked)
returning event_id
