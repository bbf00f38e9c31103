-- name: put
-- a default of the code ($8 NULL: only where no person has edited it, and only when it says something new), or a person's edit.
insert into outbox.schedules as s (sync, type, cron, zone, every_s, catch_up, due_at, edited_by) values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (sync, type) do update
set cron = excluded.cron, zone = excluded.zone, every_s = excluded.every_s, catch_up = excluded.catch_up, due_at = excluded.due_at,
    edited_by = excluded.edited_by
where excluded.edited_by is not null
   or (s.edited_by is null and (s.cron, s.zone, s.every_s, s.catch_up) is distinct from (excluded.cron, excluded.zone, excluded.every_s, excluded.catch_up))

-- name: switch
-- on or off by a person; $4: when it is due, for what was off is not made good.
update outbox.schedules set is_on = $3, due_at = $4, edited_by = coalesce(edited_by, $5) where sync = $1 and type = $2 returning sync

-- name: soon
-- read only: what is due within $1 seconds, of syncs that run, by one index.
select c.sync, c.type, c.cron, c.zone, c.every_s, c.catch_up, c.due_at, now() as now
from outbox.schedules c join outbox.syncs s on s.name = c.sync
where c.is_on and c.due_at <= now() + $1::float8 * interval '1 s' and s.off is null and s.paused_at is null order by c.due_at limit 100

-- name: tick
-- due -> due again at $4, once: zero rows mean that another dispatcher was faster, or a person changed it.
update outbox.schedules set due_at = $4, fired_at = case when $5 then $3 else fired_at end
where sync = $1 and type = $2 and due_at = $3 and is_on returning sync

-- name: of
-- read only: the schedules of some syncs.
select sync, type, cron, zone, every_s, catch_up, is_on, due_at, fired_at, edited_by, now() as now
from outbox.schedules where sync = any($1) order by sync, type

-- name: coming
-- read only: what comes due, of all syncs but those of users; one that cannot run, or is paused, does not come.
select sync, type, due_at from outbox.schedules s where is_on and sync not like 'google-contacts:%'
  and not exists (select from outbox.syncs y where y.name = s.sync and (y.off is not null or y.paused_at is not null)) order by sync, type
