-- name: stage
-- a run and its event in one statement, bulk, in its sync's lane; zero rows: this key was used, or a tick of its type waits already.
with id as materialized (select nextval('outbox.event_ids') id),
key as (
  insert into outbox.keys (digest, event_id) select outbox.digest('sync', $3), id from id on conflict do nothing returning event_id),
run as (
  insert into outbox.runs (id, sync, type, trigger, by_whom, hours_back, dry_run, since, until)
  select event_id, $5, $6, $7, $8, $9, $10, $11, $12 from key
  on conflict do nothing returning id),
e as (
  insert into outbox.events (id, source, kind, key, lane, payload) select id, 'sync', $1, $3, $4, convert_to($2::text, 'UTF8') from run),
p as (
  insert into outbox.pending (urgency, lane, event_id) select 1, outbox.lane_of($4, id), id from run),
told as materialized (select pg_notify('postroom', '') from run)
select run.id from run cross join told

-- name: is_first
-- read only: whether sync $1 has never run, and the schedule of type $2 is on. What was pruned had a success, which leaves a watermark or stays.
select from outbox.syncs s join outbox.schedules c on c.sync = s.name and c.type = $2
where s.name = $1 and c.is_on and s.off is null and s.paused_at is null and s.watermark is null and not exists (select from outbox.runs where sync = $1)

-- name: turn
-- those who ask for runs of one sync take turns until their transaction ends.
select pg_advisory_xact_lock(7314, hashtext($1))

-- name: recent
-- read only: the newest run of a sync and type that is undone, or that a cron asked for in the last $3 seconds; over the whole of it, that is.
select id from outbox.runs where sync = $1 and type = $2 and not dry_run and hours_back is null
  and (ended_at is null or (trigger = 'cron' and asked_at > now() - $3::float8 * interval '1 s'))
order by id desc limit 1

-- name: renew
-- ended well, cancelled or braked -> waiting, from its beginning: its event is run once more. Cancelled with a checkpoint: from there.
update outbox.runs r
set state = 'waiting', ended_at = null, cancel_by = null, checkpoint = w.checkpoint, phase = w.phase, progress = coalesce(w.progress, 0), expected = w.expected,
    created = coalesce(w.created, 0), updated = coalesce(w.updated, 0), unchanged = coalesce(w.unchanged, 0), skipped = coalesce(w.skipped, 0),
    deleted = coalesce(w.deleted, 0), errors = coalesce(w.errors, 0), errors_by = coalesce(w.errors_by, '{}'), pages = coalesce(w.pages, 0),
    missed = coalesce(w.missed, '{}'),
    since = case when r.type = 'range' or w.id is not null then r.since end, until = case when r.type = 'range' or w.id is not null then r.until end
from (select) always left join (select * from outbox.runs where id = $1 and state = 'cancelled' and checkpoint is not null) w on true
where r.id = $1 and r.state in ('done', 'cancelled', 'braked')

-- name: begin
-- queued, waiting, failed or running -> running, with what its sync keeps; its span is fixed the first time.
update outbox.runs r
set state = 'running', reason = null, ended_at = null, started_at = coalesce(started_at, now()), pace = null, moved_at = now(),
    until = coalesce(until, now()),
    since = case when until is not null then since when hours_back is not null then now() - hours_back * interval '1 h' else s.watermark end
from outbox.syncs s where r.id = $1 and s.name = r.sync
returning r.id, r.sync, r.type, r.trigger, r.dry_run, r.hours_back, r.since, r.until, r.started_at, r.created, r.updated, r.unchanged, r.skipped, r.deleted,
          r.errors, r.errors_by, r.calls, r.quota_left, r.quota, r.phase, r.progress, r.expected, r.pages, r.checkpoint, r.worked_ms, r.missed, r.cancel_by,
          s.kept, s.may_delete, s.off,
          (select count(*) filter (where what <> 'error')::int from outbox.run_records k where k.run_id = r.id) logged,
          (select count(*) filter (where what = 'error')::int from outbox.run_records k where k.run_id = r.id) logged_errors

-- name: keep
-- a run's numbers and its checkpoint, in the transaction of a page or of its end; answers whether somebody asked that it ends.
update outbox.runs
set state = $2, reason = $3, ended_at = case when $4 then now() end, created = $5, updated = $6, unchanged = $7, skipped = $8, deleted = $9,
    errors = $10, errors_by = $11::jsonb, calls = $12, quota_left = $13, phase = $14, progress = $15, expected = $16, pages = $17,
    checkpoint = $18::jsonb, worked_ms = $19, missed = $20::jsonb, quota = $21,
    pace = case when $2 = 'running' then $22::real end, moved_at = now()
where id = $1 and state in ('running', 'waiting') returning cancel_by

-- name: cancel
-- asks a run to end; zero rows: it has ended, or somebody asked before.
update outbox.runs set cancel_by = $2 where id = $1 and ended_at is null and cancel_by is null returning id

-- name: cancel_resting
-- a run that is not at work -> cancelled, and its event skipped with the reason; zero rows: it is at work, and ends at its next page.
with waits as (
  delete from outbox.pending p using outbox.events e
  where e.id = $1 and p.urgency in (0, 1) and p.lane = outbox.lane_of(e.lane, e.id) and p.event_id = e.id returning p.event_id, p.attempt),
rests as (
  delete from outbox.busy b using outbox.events e
  where e.id = $1 and b.lane = outbox.lane_of(e.lane, e.id) and b.event_id = e.id and b.owner is null returning b.event_id, b.attempt),
gone as (select * from waits union all select * from rests),
log as (
  insert into outbox.attempts (event_id, started_at, owner, attempt, took_ms, outcome, note)
  select event_id, clock_timestamp(), 0, attempt, 0, 's', 'cancelled by ' || $2 from gone)
update outbox.runs r set state = 'cancelled', reason = 'cancelled by ' || $2, cancel_by = $2, ended_at = now(), checkpoint = null from gone where r.id = gone.event_id returning r.id

-- name: end_dead
-- undone -> failed: those whose event is a dead letter, or was discarded as one.
update outbox.runs r
set state = 'failed', reason = coalesce(d.reason, 'its event was discarded'), ended_at = coalesce(d.died_at, now())
from outbox.runs u
cross join lateral (select event_id, lane from (select u.id event_id, outbox.lane_of(e.lane, e.id) lane from outbox.events e where e.id = u.id) x) e
left join outbox.dead d on d.event_id = u.id
where u.ended_at is null and r.id = u.id
  and not exists (select from outbox.pending p where p.urgency in (0, 1) and p.lane = e.lane and p.event_id = u.id)
  and not exists (select from outbox.busy b where b.lane = e.lane and b.event_id = u.id)
returning r.id

-- name: log
-- what happened to records, in the page's transaction.
insert into outbox.run_records (run_id, record, what, category, note)
select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::text[])

-- name: saw
-- what a full run met on a page.
insert into outbox.run_seen (run_id, record) select $1, unnest($2::text[]) on conflict do nothing

-- name: forget_seen
-- a full run has ended.
delete from outbox.run_seen where run_id = $1

-- name: list
-- read only: runs of sync $1 (NULL: of all), newest first, below id $2, at most $3, with why an undone one waits.
select r.*, s.why, s.until held_until, now() as now from outbox.runs r
left join lateral (select why, until from outbox.states(array[r.id]) where r.ended_at is null) s on true
where ($1::text is null or r.sync = $1) and ($2::bigint is null or r.id < $2) order by r.id desc limit $3

-- name: last
-- read only: the newest $2 runs of each of these syncs, newest first.
select s.name sync, r.* from unnest($1::text[]) s(name)
cross join lateral (
  select id, state, created, updated, unchanged, skipped, deleted, errors, ended_at from outbox.runs where sync = s.name order by id desc limit $2) r order by s.name, r.id desc

-- name: usual
-- read only: of each of these types the newest run of sync $1 that ended well, and took all that was there to take.
select t.type, r.id, r.ended_at, r.total, r.calls, r.quota, r.worked_ms from unnest($2::text[]) t(type)
cross join lateral (
  select * from outbox.runs where sync = $1 and type = t.type and state = 'done' and not dry_run and hours_back is null order by id desc limit 1) r

-- name: today
-- read only: calls of the runs that each of these syncs was asked for today (UTC), and what the far side said last: how many a day, how many are left.
select sync, sum(calls)::int calls, (array_agg(quota order by id desc) filter (where quota is not null))[1] quota,
       (array_agg(quota_left order by id desc) filter (where quota_left is not null))[1] quota_left
from outbox.runs where sync = any ($1::text[]) and id >= outbox.first_id((now() at time zone 'UTC')::date) group by sync

-- name: some
-- read only: runs, with why they wait.
select r.*, s.why, s.until held_until, now() as now from outbox.runs r
left join lateral (select why, until from outbox.states(array[r.id]) where r.ended_at is null) s on true
where r.id = any($1)

-- name: records
-- read only: what a run did to which record, errors first; $2: only these (NULL: all), $4: only errors of this category.
select record, what, category, note, at from outbox.run_records
where run_id = $1 and ($2::text is null or what = $2) and ($4::text is null or category = $4)
order by (what = 'error') desc, at desc limit $3

-- name: examples
-- read only: of each category at most $2 of the errors in the log of run $1, the newest.
select category, record, what, note, at from (
  select k.*, row_number() over (partition by category order by at desc, record) turn
  from outbox.run_records k where run_id = $1 and what = 'error') k
where turn <= $2 order by category, turn

-- name: prune
-- forgets runs that ended over $1 days ago, with their records; each sync's newest success stays.
delete from outbox.runs r where r.ended_at < now() - $1::float8 * interval '1 day'
  and r.id is distinct from (select succeeded_run from outbox.syncs s where s.name = r.sync)

-- name: prune_records
-- forgets what runs that ended over $1 days ago did to which record.
delete from outbox.run_records k using outbox.runs r where r.id = k.run_id and r.ended_at < now() - $1::float8 * interval '1 day'

-- name: prune_seen
-- forgets what full runs met that failed over $1 days ago: retried later, one asks for each contact that it takes for gone, or brakes.
delete from outbox.run_seen k using outbox.runs r where r.id = k.run_id and r.ended_at < now() - $1::float8 * interval '1 day'
