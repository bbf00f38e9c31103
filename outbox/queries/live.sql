-- name: newest
-- read only: the newest event's id, and the database's clock.
select coalesce((select max(id) from outbox.events), 0) id, now() now

-- name: events
-- read only: of events $1, what changes while somebody looks at them: state, attempts, steps, deliveries that were duplicates.
select s.event_id id, s.mark, s.attempts, s.changed_at, (select count(*)::int from outbox.steps t where t.event_id = s.event_id) steps,
       coalesce((select d.seen from outbox.duplicates d where d.event_id = s.event_id), 0) duplicates
from outbox.states($1::bigint[]) s

-- name: runs
-- read only: how far runs $1 are.
select id, state, phase, progress, total, errors, pages, calls, cancel_by is not null is_cancelled from outbox.runs where id = any ($1::bigint[])

-- name: under_way
-- read only: how far the runs are that have not ended.
select id, state, phase, progress, total, errors from outbox.runs where ended_at is null order by id limit 500

-- name: plans
-- read only: how far plans $1 are.
select p.id, p.state, p.portion, p.turn, p.allowed,
       (select count(*)::int from outbox.plan_events e where e.plan_id = p.id and e.ended is not null) ended
from outbox.plans p where p.id = any ($1::bigint[])

-- name: dead
-- read only: what changes with a list of dead letters: how many there are, when the last died, the newest note, the newest plans.
select count(*)::int dead, max(died_at)::text last_at, (select max(at)::text from outbox.notes) noted_at,
       (select string_agg(p.id || p.state, ' ' order by p.id) from (select id, state from outbox.plans order by id desc limit 5) p) plans
from outbox.dead

-- name: lanes
-- read only: what changes with a list of held lanes: how many there are, to 20,000, and one number made of their heads.
select count(*)::int held, coalesce(bit_xor(hashint8(event_id) # attempt # timestamp_hash(due_at at time zone 'UTC')), 0) heads
from (select event_id, attempt, due_at from outbox.busy where owner is null and lane <> event_id limit 20000) b
