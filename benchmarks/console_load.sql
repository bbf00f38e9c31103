-- A database as a busy installation has it after a day: $1 events, $2 of them dead, and something on every page. Invented data only.
-- Ids go on in the day's partition, so all events are in one: the worst case for every page.

-- name: events
insert into outbox.events (id, staged_at, source, kind, key, lane, payload, headers)
  select outbox.first_id((now() at time zone 'UTC')::date) + n, now() - ($1::int - n) * (interval '24 hours' / $1::int),
         (array['ghl', 'notion', 'app', 'ghl'])[n % 4 + 1],
         (array['ghl.ContactUpdate', 'notion.page.content_updated', 'appointment.confirmed', 'ghl.ContactCreate'])[n % 4 + 1],
         'key-' || n, case when n % 10 = 0 then null else 'ghl:contact:c' || n % 50000 end,
         convert_to(json_build_object('contact_id', 'c' || n % 50000, 'name', 'Ada Example', 'email', 'ada' || n || '@example.com',
           'phone', '+1 555 01' || lpad((n % 100)::text, 2, '0'), 'text', repeat('x', 300))::text, 'UTF8'), null
  from generate_series(1, $1::int) n

-- name: keys
insert into outbox.keys (digest, event_id) select outbox.digest(source, key), id from outbox.events order by 1

-- name: the sequence
select setval('outbox.event_ids', (select max(id) from outbox.events))

-- name: attempts
insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select e.id, e.staged_at + interval '20 ms', 1, 1, 100 + (e.id % 300)::int,
         (case when e.id % 25 = 0 then 's' else 'd' end)::"char", case when e.id % 25 = 0 then 'no route' end
  from outbox.events e order by case when e.id % 50 = 0 then e.id + 150000 else e.id end  -- of which some are late retries

-- name: dead letters
with dying as (
    select id, lane, kind, row_number() over (order by id) n from outbox.events
    where (id - outbox.first_id((now() at time zone 'UTC')::date)) % greatest(1, $1::int / $2::int) = 0),
  gone as (delete from outbox.attempts a using dying where a.event_id = dying.id),
  died as (
    insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
    select d.id, e.staged_at + k * interval '9 s', 1, k, 180, (case when k = 5 then 'x' else 'r' end)::"char", 'ghl answered 503'
    from dying d join outbox.events e on e.id = d.id cross join generate_series(1, 5) k),
  walked as (
    insert into outbox.steps (event_id, name, attempt, entry, at, took_ms)
    select d.id, 'set-fields', 1, entry::"char", e.staged_at, 90 from dying d join outbox.events e on e.id = d.id
    cross join unnest(array['i', 'd']) entry where d.n % 2 = 0)
  insert into outbox.dead (event_id, lane, urgency, attempt, died_at, fingerprint, reason)
  select d.id, outbox.lane_of(d.lane, d.id), 0, 5, e.staged_at + interval '45 s', left(md5((d.n % 40)::text), 8),
         'ghl answered 400: field ' || d.n % 40 || ' is not valid'
  from dying d join outbox.events e on e.id = d.id

-- name: what waits
with tail as (select id, lane, row_number() over (order by id desc) n from outbox.events order by id desc limit least(8000, $1::int / 10)),
  alive as (select * from tail t where not exists (select from outbox.dead d where d.event_id = t.id)),
  gone as (delete from outbox.attempts a using alive where a.event_id = alive.id),
  ripe as (insert into outbox.pending (urgency, lane, event_id) select 0, outbox.lane_of(lane, id), id from alive where n % 10 < 7),
  later as (
    insert into outbox.delayed (due_at, event_id, lane, urgency)
    select now() + n * interval '1 min', id, outbox.lane_of(lane, id), 0 from alive where n % 10 = 7),
  heads as (select distinct on (outbox.lane_of(lane, id)) * from alive where n % 10 > 7 order by outbox.lane_of(lane, id), id)
  insert into outbox.busy (lane, event_id, urgency, due_at, attempt, failures, why)
  select outbox.lane_of(lane, id), id, 0, case when n % 10 = 8 then 'infinity' else now() + interval '1 hour' end, 2, 1,
         case when n % 10 = 8 then 'held for notion' else 'ghl answered 503' end from heads

-- name: statistics, without which a search in attempts reads all of them
vacuum analyze

-- name: ends of what waits nowhere
insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome)
  select e.id, e.staged_at, 1, 1, 10, 'd' from (select * from outbox.events order by id desc limit least(8000, $1::int / 10)) e
  where (select s.state from outbox.states(array[e.id]) s) = 'lost'

-- name: counters
insert into outbox.minutes (minute, kind, done, skipped, dead, failures, settled_ms, late)
  select date_trunc('minute', now()) - n * interval '1 min', kind, $1::int / 1440 / 4, 3, n % 2, 1, 40000, 1
  from generate_series(0, 2879) n cross join unnest(array['ghl.ContactUpdate', 'appointment.confirmed', 'ghl.ContactCreate']) kind

-- name: arrivals
insert into outbox.arrivals (minute, source, accepted)
  select date_trunc('minute', now()) - n * interval '1 min', source, $1::int / 1440 / 3
  from generate_series(0, 2879) n cross join unnest(array['ghl', 'notion', 'app']) source

-- name: how far arrivals are counted
insert into outbox.arrivals_counted (next_id, upto) select max(id) + 1, max(id) + 1 from outbox.events

-- name: calls of destinations
insert into outbox.calls (quarter, destination, bucket, calls, failed)
  select date_bin('15 min', now(), '2000-01-01Z') - n * interval '15 min', name, bucket, 20, n % 2
  from generate_series(0, 95) n, generate_series(8, 20) bucket,
       (select unnest(array['ghl', 'notion', 'phorest', 'google-oauth']) union all select 'google:user-' || u from generate_series(1, 100) u) d(name)
  where name not like 'google:%' or n % 16 = 0 and bucket < 12

-- name: routes
insert into outbox.routes (kind, handler, destination, deadline_s, retries, schedule_s, covers)
  select kind, 'handlers.' || kind, 'ghl', 30, '9 retries in about a day', array[1, 5, 30], null
  from unnest(array['ghl.ContactUpdate', 'appointment.confirmed', 'ghl.ContactCreate']) kind

-- name: destinations
insert into outbox.destinations (name, state, why, by_whom) select name, state, why, whom
  from (values ('ghl', 'flowing', null, null), ('notion', 'paused', 'schema change', 'ben')) d(name, state, why, whom)

-- name: budgets
insert into outbox.budgets (credential, tokens, used, daily_left) select 'ghl', 63, 41200, 158800

-- name: the front door
insert into outbox.sources (name, accepted, duplicates, rejected, last_accepted_at)
  select name, $1::int / 3, 400, 1000, now() from unnest(array['ghl', 'notion']) name

-- name: rejected requests
insert into outbox.rejected (at, source, reason, detail, remote, body_bytes, body_head)
  select now() - n * interval '1 min', (array['ghl', 'notion'])[n % 2 + 1], 'bad signature', 'none matched', '192.0.2.0/24', 612, ''
  from generate_series(1, least(1000, $1::int)) n

-- name: syncs
with made as (
    insert into outbox.syncs (name, destination, types) select name, 'ghl', array['incremental', 'full']
    from (select 'ghl-contacts' name union all select 'notion-clients' union all select 'google-contacts:user-' || n from generate_series(1, 200) n) s
    returning name)
  insert into outbox.schedules (sync, type, every_s, catch_up, due_at) select name, 'incremental', 3600, 'one', now() + interval '20 min' from made

-- name: runs
insert into outbox.runs (id, sync, type, trigger, state, created, updated, unchanged, errors, calls, worked_ms, asked_at, started_at, ended_at, reason)
  select 1000 + n, case when n % 2 = 0 then 'ghl-contacts' else 'google-contacts:user-' || n % 200 + 1 end, 'incremental', 'schedule',
         case when n % 50 = 0 then 'failed' else 'done' end, 3, 9, 200, n % 3, 4, 4100, t, t, t + interval '4 s', case when n % 50 = 0 then 'ghl answered 401' end
  from generate_series(1, least(20000, $1::int / 10)) n cross join lateral (select now() - n * interval '4 min' t) at

-- name: records of runs
insert into outbox.run_records (run_id, record, what, category, note)
  select 1001 + n % least(2000, $1::int / 10), 'c' || n, case when n % 4 = 0 then 'error' else 'updated' end, case when n % 4 = 0 then 'validation' end, null
  from generate_series(1, least(50000, $1::int / 10)) n

-- name: contacts
insert into crm.contacts (ghl_contact_id, location_id, first_name, email, phone, changed_at, content_hash)
  select 'c' || n, 'location-1', 'Ada', 'ada' || n || '@example.com', '+1555010' || n, now(), '' from generate_series(0, least(49999, $1::int)) n

-- name: the audit log
insert into outbox.audit (at, who, via, what, target, reason)
  select now() - (100000 - n) * interval '1 min', (array['ana', 'ben'])[n % 2 + 1], 'console', (array['retry', 'pause', 'show payload'])[n % 3 + 1], n::text, null
  from generate_series(1, least(100000, $1::int)) n

-- name: audits
with ran as (insert into crm.audits (id, system, started_at, ended_at) select n, 'phorest', now(), now() from generate_series(1, least(90, $1::int)) n returning id)
  insert into crm.audit_gaps (audit_id, kind, id, gap) select id, 'client', 'p' || n, 'not in ghl' from ran cross join generate_series(1, 200) n

-- name: Google users
insert into crm.google_users (user_id) select 'user-' || n from generate_series(1, least(200, $1::int)) n

-- name: a worker
insert into outbox.workers (name, until) select 'worker-a', now() + interval '1 day'

-- name: plans
with made as (
    insert into outbox.plans (act, which, ceiling, events, lanes, oldest_at, steps_done, made_by)
    select 'retry', '{}', max(event_id), count(*)::int, count(distinct lane)::int, min(died_at), 0, 'ana' from outbox.dead cross join generate_series(1, 20) n
    group by n returning id)
  insert into outbox.plan_events (plan_id, turn, event_id, attempt, fingerprint)
  select (select max(id) from made), row_number() over (order by event_id), event_id, attempt, fingerprint from outbox.dead
