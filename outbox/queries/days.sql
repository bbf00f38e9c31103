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

-- name: undone_days
-- read only: the days over $1 days old of which something is still pending, busy, delayed or dead, oldest first.
with undone as (
  select event_id from outbox.pending union all select event_id from outbox.busy
  union all select event_id from outbox.delayed union all select event_id from outbox.dead)
select distinct date '1970-01-01' + (event_id >> 36)::int as day from undone
where event_id < outbox.first_id((now() at time zone 'UTC')::date - $1::int) order by day

-- name: key_pages
-- read only: how many pages the table of keys has.
select pg_relation_size('outbox.keys') / current_setting('block_size')::bigint

-- name: prune_keys
-- the keys of day $1 among the pages from $2 up to $3.
delete from outbox.keys
where ctid >= format('(%s,0)', $2::bigint)::tid and ctid < format('(%s,0)', $3::bigint)::tid
  and event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1)

-- name: prune_duplicates
-- the counts of repeats of a day that is dropped.
delete from outbox.duplicates where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1)
