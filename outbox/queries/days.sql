-- name: open
-- makes the partitions of today and the next days, and moves the ids on.
select outbox.open_days()

-- name: sum_up
-- tells the indexes of attempts and of lanes what the newest pages hold; whatever they have not been told of, each look-up reads whole.
select coalesce(sum(brin_summarize_new_values(i.indexrelid)), 0)::int
from pg_inherits h join pg_class c on c.oid = h.inhrelid join pg_index i on i.indrelid = c.oid
join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam and m.amname = 'brin'
where h.inhparent in ('outbox.attempts'::regclass, 'outbox.events'::regclass)
  and right(c.relname, 8) >= to_char((now() at time zone 'UTC')::date - 1, 'YYYYMMDD')

-- name: lock
-- one worker at a time does the upkeep.
select pg_try_advisory_xact_lock(7311, 3)

-- name: old
-- read only: the days that have a partition, are over $1 days old and got their last event over $1 days ago, oldest first. When nobody
-- opens days, ids go on in an old one: such a day is as young as its last event.
with days as materialized (
  select to_date(right(c.relname, 8), 'YYYYMMDD') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'outbox.events'::regclass and c.relname ~ '_[0-9]{8}$')
select d.day from days d cross join (select (now() at time zone 'UTC')::date - $1::int as day) limits
where d.day < limits.day
  and coalesce((select e.staged_at from outbox.events e where e.id >= outbox.first_id(d.day) and e.id < outbox.first_id(d.day + 1)
                order by e.id desc limit 1), '-infinity') < limits.day::timestamp at time zone 'UTC'
order by d.day

-- name: sizes
-- read only: the days that have a partition, newest first, each with the bytes of its tables and their indexes.
select to_date(right(c.relname, 8), 'YYYYMMDD') as day,
       coalesce(sum(pg_total_relation_size(c.oid)) filter (where i.inhparent = 'outbox.events'::regclass), 0)::bigint events_bytes,
       coalesce(sum(pg_total_relation_size(c.oid)) filter (where i.inhparent = 'outbox.attempts'::regclass), 0)::bigint attempts_bytes,
       coalesce(sum(pg_total_relation_size(c.oid)) filter (where i.inhparent = 'outbox.steps'::regclass), 0)::bigint steps_bytes
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent in ('outbox.events'::regclass, 'outbox.attempts'::regclass, 'outbox.steps'::regclass) and c.relname ~ '_[0-9]{8}$'
group by 1 order by 1 desc

-- name: in_use
-- read only: does a transaction that has been open for over $2 ms hold one of these tables? To wait for it would make everybody wait.
select exists (
  select from pg_locks l left join pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'relation' and l.granted and l.database = (select oid from pg_database where datname = current_database())
    and l.relation in (select to_regclass(name) from unnest($1::text[]) name) and l.pid is distinct from pg_backend_pid()
    and (l.pid is null or a.xact_start < clock_timestamp() - $2::int * interval '1 ms'))

-- name: undone
-- read only: is an id of the day still pending, busy, delayed or dead? Undone work is never dropped.
select exists (select from outbox.pending where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))
    or exists (select from outbox.busy where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))
    or exists (select from outbox.delayed where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))
    or exists (select from outbox.dead where event_id >= outbox.first_id($1::date) and event_id < outbox.first_id($1::date + 1))

-- name: kept
-- read only: of the days $1, those of which something is still pending, busy, delayed or dead: how much, and the oldest event of it.
with undone as (
  select event_id, 'pending' place from outbox.pending union all select event_id, 'busy' from outbox.busy
  union all select event_id, 'delayed' from outbox.delayed union all select event_id, 'dead' from outbox.dead)
select d.day, count(*)::int events, min(u.event_id) oldest, (array_agg(u.place order by u.event_id))[1] place
from unnest($1::date[]) d(day) join undone u on u.event_id >= outbox.first_id(d.day) and u.event_id < outbox.first_id(d.day + 1)
group by d.day order by d.day

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

-- name: ahead
-- read only: the last day for which every table has its partition (NULL: one has none), and the day that ids are drawn from.
select (select case when count(*) = count(last) then min(last) end from (
          select max(to_date(right(c.relname, 8), 'YYYYMMDD')) last from (values ('outbox.events'), ('outbox.attempts'), ('outbox.steps')) p(name)
          left join pg_inherits i on i.inhparent = p.name::regclass
          left join pg_class c on c.oid = i.inhrelid and c.relname ~ '_[0-9]{8}$' group by p.name) each_table) last,
       date '1970-01-01' + (last_value >> 36)::int drawn, (now() at time zone 'UTC')::date today
from outbox.event_ids
