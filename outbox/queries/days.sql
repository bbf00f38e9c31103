-- name: open
-- makes the partitions of today and the next days, and moves the ids on.
select outbox.open_days()

-- name: lock
-- one worker at a time does the upkeep.
select pg_try_advisory_xact_lock(7311, 3)

-- name: old
-- read only: the days that have a partition and are over $1 days old, oldest first.
select to_date(right(c.relname, 8), 'YYYYMMDD') as day
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'outbox.events'::regclass and to_date(right(c.relname, 8), 'YYYYMMDD') < (now() at time zone 'UTC')::date - $1::int
order by day

-- name: undone
-- read only: is an id of the day still pending, busy, delayed or dead? Undone work is never dropped.
select exists (select from outbox.pending where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))
    or exists (select from outbox.busy where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))
    or exists (select from outbox.delayed where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))
    or exists (select from outbox.dead where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))

-- name: prune_keys
-- the keys of a day that is dropped.
delete from outbox.keys where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1)

-- name: prune_duplicates
-- the counts of repeats of a day that is dropped.
delete from outbox.duplicates where event_id < outbox.first_id($1::date + 1)
