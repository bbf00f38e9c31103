-- name: register
-- a sync that a dispatcher knows, with why it cannot run ($4; NULL: it can). What people said of it stays.
insert into outbox.syncs as s (name, destination, types, off, overlap_s) values ($1, $2, $3, $4, $5)
on conflict (name) do update
set destination = excluded.destination, types = excluded.types, off = excluded.off, overlap_s = excluded.overlap_s,
    expected_since = case when s.off is not null and excluded.off is null then now() else s.expected_since end
where (s.destination, s.types, s.off, s.overlap_s) is distinct from (excluded.destination, excluded.types, excluded.off, excluded.overlap_s)

-- name: retire
-- what no code here knows any more cannot run: those that are not among $1, and of an account not by the name before the colon.
update outbox.syncs set off = $2 where split_part(name, ':', 1) <> all($1::text[]) and off is distinct from $2

-- name: all
-- read only: syncs with their last success, their last failure and their undone run; $1: these (NULL: all but those of users).
select s.name, s.destination, s.types, s.off, s.watermark, s.overlap_s, s.may_delete, s.paused_at, s.paused_by, s.paused_why, s.expected_since, now() as now,
       s.succeeded_run ok_id, s.succeeded_at ok_at, bad.id bad_id, bad.ended_at bad_at, bad.state bad_state, bad.reason bad_reason, current.id current_id,
       brake.id brake_id, brake.ended_at brake_at, brake.state brake_state, brake.reason brake_reason,
       exists (select from outbox.connections c where s.name like 'google-contacts:%' and c.destination = s.destination and c.state <> 'active') consent_lost
from outbox.syncs s
left join lateral (
  select id, ended_at, state, reason from outbox.runs where sync = s.name and state in ('failed', 'braked') order by id desc limit 1) bad on true
left join lateral (                                -- still asks a person: none of its type has ended well since
  select id, ended_at, state, reason from outbox.runs b
  where b.id = (select max(id) from outbox.runs where sync = s.name and state in ('failed', 'braked') and state = 'braked' and not dry_run)
    and not exists (select from outbox.runs k where k.sync = s.name and k.id > b.id and k.type = b.type and k.state = 'done' and not k.dry_run)) brake on true
left join lateral (
  select id from outbox.runs where sync = s.name and ended_at is null order by state = 'running' desc, id limit 1) current on true
where ($1::text[] is null and s.name not like 'google-contacts:%') or s.name = any($1) order by s.name

-- name: page
-- read only: the names of the next $4 syncs behind $1; $2: without those of users, $3: only those of this account (NULL: of all).
select name from outbox.syncs
where name > $1 and not ($2 and name like 'google-contacts:%') and ($3::text is null or split_part(name, ':', 2) = $3) order by name limit $4

-- name: page_of_users
-- read only: the names of the next $3 of single users' behind $1 that show light $2 (NULL: any), or whose light is not known here.
select name from outbox.user_syncs where name > $1 and ($2::text is null or light = $2 or light is null) order by name limit $3

-- name: users
-- read only: how those of single users stand, in one row; `by_cron` are those whose light is not known here.
select count(*)::int users, count(*) filter (where light = 'green')::int green, count(*) filter (where light = 'yellow')::int yellow,
       count(*) filter (where light = 'red')::int red, count(*) filter (where light = 'grey')::int grey,
       count(*) filter (where needs_consent)::int need_consent, array_agg(name) filter (where light is null) by_cron,
       max(succeeded_at) succeeded_at, min(due_at) filter (where light is distinct from 'grey') due_at,
       (select count(*)::int from outbox.runs where ended_at is null and sync like 'google-contacts:%') under_way
from outbox.user_syncs

-- name: one
-- read only: a sync.
select name, destination, types, off, watermark, kept, may_delete, paused_at, paused_by, paused_why from outbox.syncs where name = $1

-- name: is_to_succeed
-- read only: whether sync $1 has never succeeded and is due by itself.
select exists (
  select from outbox.syncs s join outbox.schedules c on c.sync = s.name and c.is_on
  where s.name = $1 and s.succeeded_at is null and s.off is null and s.paused_at is null)

-- name: pause
-- its schedule stands; zero rows: there is no such sync. Who paused it first stays named.
update outbox.syncs set paused_at = coalesce(paused_at, now()), paused_by = coalesce(paused_by, $2), paused_why = coalesce(paused_why, $3)
where name = $1 returning name

-- name: resume
-- its schedule goes on; zero rows: it was not paused.
update outbox.syncs set paused_at = null, paused_by = null, paused_why = null, expected_since = now()
where name = $1 and paused_at is not null returning name

-- name: expect
-- it is due as it is from now on: its schedule was changed, or it has its credential again.
update outbox.syncs set expected_since = now() where name = $1

-- name: allow
-- a person allows the next sweep so many deletions.
update outbox.syncs set may_delete = $2 where name = $1 returning name

-- name: advance
-- the watermark moves on, never back, nor over a gap between it and $5, where the run began to look (NULL: at the beginning);
-- what the sync keeps is replaced ($3; NULL: it stays); $4: what a person allowed is used up.
update outbox.syncs
set watermark = case when $5::timestamptz is null or $5 <= watermark then greatest(watermark, $2) else watermark end, kept = coalesce($3::jsonb, kept), may_delete = case when not $4 then may_delete end
where name = $1
