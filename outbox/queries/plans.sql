-- name: make
-- a plan of the dead letters that a filter finds now, the oldest $13; no row when it finds none. With ids ($7) only of those.
with found as materialized (
  select d.event_id, d.kind, d.lane, d.attempt, d.fingerprint, d.died_at, row_number() over (partition by d.lane order by d.event_id) nth
  from (select d.*, e.kind from outbox.dead d join outbox.events e on e.id = d.event_id
        where ($1::text is null or e.kind = $1) and ($2::text is null or e.source = $2)
          and ($3::text is null or e.lane = $3) and ($4::text is null or d.fingerprint = $4)
          and ($5::timestamptz is null or d.died_at >= $5) and ($6::timestamptz is null or d.died_at < $6)
          and ($7::bigint[] is null or d.event_id = any ($7))
        order by d.event_id limit $13) d),
made as (
  insert into outbox.plans (act, which, reason, canary, made_by, ceiling, events, lanes, oldest_at, steps_done, kinds)
  select $8, $9::jsonb, $10, $11, $12, max(event_id), count(*)::int, count(distinct lane)::int, min(died_at),
         (select count(*)::int from found f join outbox.steps s on s.event_id = f.event_id and s.entry in ('d', 'f')),
         (select jsonb_object_agg(k.kind, k.events) from (select kind, count(*) events from found group by kind) k)
  from found having count(*) > 0 returning id),
held as (
  insert into outbox.plan_events (plan_id, turn, event_id, attempt, fingerprint)
  select made.id, row_number() over (order by nth, event_id), event_id, attempt, fingerprint from found cross join made)
select id from made

-- name: make_replay
-- a plan of the events $1 that are known, to be replayed; no row when none is. Of each 5,000 one of each lane first: a portion's ids lie near
-- each other, which outbox.settled() wants.
with found as materialized (                      -- each looked up by key: a join would read all events
  select e.id event_id, e.kind, outbox.lane_of(e.lane, e.id) lane, e.staged_at, i.block,
         row_number() over (partition by i.block, outbox.lane_of(e.lane, e.id) order by e.id) nth
  from (select id, (row_number() over (order by id) - 1) / 5000 block from unnest($1::bigint[]) x(id)) i
  cross join lateral (select e.id, e.kind, e.lane, e.staged_at from outbox.events e where e.id = i.id offset 0) e),
made as (
  insert into outbox.plans (act, which, made_by, ceiling, events, lanes, oldest_at, steps_done, kinds)
  select 'replay', $2::jsonb, $3, max(event_id), count(*)::int, count(distinct lane)::int, min(staged_at),
         (select coalesce(sum(s.steps), 0)::int from found f
          cross join lateral (select count(*) steps from outbox.steps s where s.event_id = f.event_id and s.entry in ('d', 'f') offset 0) s),
         (select jsonb_object_agg(k.kind, k.events) from (select kind, count(*) events from found group by kind) k)
  from found having count(*) > 0 returning id),
held as (
  insert into outbox.plan_events (plan_id, turn, event_id)
  select made.id, row_number() over (order by block, nth, event_id), event_id from found cross join made)
select id from made

-- name: mark_late
-- those of a plan with a newer event of their lane done, where the newest few say so; lane by lane, so for few lanes only.
with lanes as materialized (
  select e.lane, min(e.id) first from outbox.plan_events p join outbox.events e on e.id = p.event_id
  where p.plan_id = $1 and e.lane is not null group by e.lane),
newest as materialized (
  select l.lane, done.id from lanes l cross join lateral (
    select n.id from (select outbox.in_lane(l.lane, 9223372036854775807, l.first + 1, 20) id) n
    cross join lateral outbox.states(array[n.id]) s where s.state = 'done' limit 1) done),
marked as (
  update outbox.plan_events p set is_late = true from newest n join outbox.events e on e.lane = n.lane and e.id < n.id
  where p.plan_id = $1 and e.id = p.event_id returning p.turn)
update outbox.plans set newer = (select count(*)::int from marked) where id = $1 returning newer

-- name: one
-- read only: a plan.
select * from outbox.plans where id = $1

-- name: list
-- read only: plans, newest first, below id $1, at most $2.
select * from outbox.plans where ($1::bigint is null or id < $1) order by id desc limit $2

-- name: tally
-- read only: what became of the events of a plan; NULL: not yet. sent: they are, or were, in the queue again.
select p.act, coalesce(e.ended::text, case when e.portion is null then 'waits' else 'under way' end) became, count(*)::int events
from outbox.plans p join outbox.plan_events e on e.plan_id = p.id where p.id = $1 group by 1, 2

-- name: portion
-- read only: what became of portion $2 of a plan, and how many of all that the plan sent are under way.
select (count(*) filter (where ended is null or ended in ('d', 's', 'x', 'y')))::int sent, (count(*) filter (where ended = 'x'))::int same,
       (select count(*)::int from outbox.plan_events where plan_id = $1 and portion is not null and ended is null) under_way
from outbox.plan_events where plan_id = $1 and portion = $2

-- name: portions
-- read only: each portion that was taken, with what became of it.
select portion, count(*)::int events, (count(*) filter (where ended is null or ended in ('d', 's', 'x', 'y')))::int sent,
       (count(*) filter (where ended is null))::int under_way,
       (count(*) filter (where ended in ('d', 's')))::int fine, (count(*) filter (where ended = 'x'))::int same,
       (count(*) filter (where ended = 'y'))::int other, min(event_id) first, max(ended_at) ended_at
from outbox.plan_events where plan_id = $1 and portion is not null group by portion order by portion

-- name: events
-- read only: the events of a plan above turn $2, at most $3, with what became of them.
select p.turn, p.event_id, p.portion, p.ended::text ended, p.ended_at, p.is_late from outbox.plan_events p
where p.plan_id = $1 and p.turn > $2 order by p.turn limit $3

-- name: by_others
-- read only: what people did to those of a plan that were no longer as planned, the most frequent first; of the first thousand.
select x.note, count(*)::int events
from (select event_id from outbox.plan_events where plan_id = $1 and ended = 'a' order by turn limit 1000) p
cross join lateral (
  select a.note from outbox.attempts a where a.event_id = p.event_id and a.owner = 0 and a.note is not null order by a.started_at desc limit 1) x
group by x.note order by 2 desc, 1 limit 5

-- name: start
-- made -> running, with the choices of whoever starts it; the first portion may be taken, or all of them.
update outbox.plans set state = 'running', started_at = now(), canary = $2, leave_out = $3, allowed = $4 where id = $1 and state = 'made' returning id

-- name: go_on
-- resting -> running: portions up to $2 may be taken.
update outbox.plans set state = 'running', allowed = $2 where id = $1 and state = 'resting' returning id

-- name: stop
-- running or resting -> stopping: no portion more; what was sent is waited for.
update outbox.plans set state = 'stopping', why = $2 where id = $1 and state in ('running', 'resting') returning id

-- name: resume
-- stopping or stopped -> running, as far as it was allowed: it goes on with the turns that are left, and deaths so far stop it no more.
update outbox.plans set state = 'running', why = null, ended_at = null, excused = portion where id = $1 and state in ('stopping', 'stopped') returning id

-- name: under_way
-- read only: plans that have something to do or to wait for.
select id from outbox.plans where state in ('running', 'stopping') order by id

-- name: take
-- the plan, for whoever is first; the others go on to other things.
select * from outbox.plans where id = $1 and state in ('running', 'stopping') for update skip locked

-- name: settle
-- what became of those that were sent and are over: done, skipped, dead again (by the same cause or another; of a replay: dead), dropped by retention.
with sent as materialized (
  select turn, event_id, fingerprint from outbox.plan_events where plan_id = $1 and portion is not null and ended is null),
over as (
  select t.turn, case when s.event_id is not null then s.outcome::text when d.event_id is null then 'g'
                      when t.fingerprint is null or d.fingerprint = t.fingerprint then 'x' else 'y' end ended
  from sent t left join outbox.settled(array(select event_id from sent)) s on s.event_id = t.event_id
  left join lateral (select d.event_id, d.fingerprint from outbox.dead d where d.event_id = t.event_id limit 1) d on true
  left join lateral (select e.id from outbox.events e where e.id = t.event_id limit 1) e on true
  where e.id is null or coalesce(s.event_id, d.event_id) is not null)
update outbox.plan_events p set ended = over.ended::"char", ended_at = now() from over where p.plan_id = $1 and p.turn = over.turn

-- name: next
-- read only: the next $3 turns of a plan after turn $2, each with whether it still is as it was planned.
select p.turn, p.event_id, p.is_late, d.event_id is not null is_dead, e.id is not null is_known
from (select turn, event_id, attempt, is_late from outbox.plan_events where plan_id = $1 and turn > $2 order by turn limit $3) p
left join lateral (select d.event_id from outbox.dead d where d.event_id = p.event_id and d.attempt = p.attempt limit 1) d on true
left join lateral (select e.id from outbox.events e where e.id = p.event_id limit 1) e on true
order by p.turn

-- name: taken
-- turns that were taken in portion $2: sent, or over without it.
update outbox.plan_events p set portion = $2, ended = t.ended::"char", ended_at = case when t.ended is not null then now() end
from unnest($3::int[], $4::text[]) t(turn, ended) where p.plan_id = $1 and p.turn = t.turn

-- name: move
-- where a plan stands now.
update outbox.plans set state = $2, portion = $3, turn = $4, why = coalesce($5, why),
  ended_at = case when $2 in ('done', 'stopped') then now() end
where id = $1

-- name: prune
-- plans that nobody will look at: over, or never begun, and old.
delete from outbox.plans where state in ('made', 'stopped', 'done') and made_at < now() - $1 * interval '1 day'
