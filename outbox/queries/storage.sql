-- name: tables
-- read only: the tables that swing between empty and large: rows alive and dead as the statistics have them, pages, and their vacuum.
select c.relname as name, s.n_live_tup alive, s.n_dead_tup dead, pg_relation_size(c.oid) heap_bytes, pg_indexes_size(c.oid) index_bytes,
       greatest(s.last_vacuum, s.last_autovacuum) vacuumed_at,
       not coalesce((select option_value::bool from pg_options_to_table(c.reloptions) where option_name = 'autovacuum_enabled'), true) is_off
from pg_class c join pg_stat_user_tables s on s.relid = c.oid
where c.oid = any (array['outbox.pending', 'outbox.busy', 'outbox.delayed', 'outbox.keys']::regclass[]) order by c.relname

-- name: oversized
-- read only: which of the two that vacuum never cuts off by itself are larger than $1 bytes and nearly empty, also of dead rows.
select s.relname as name from pg_stat_user_tables s
where s.relid in ('outbox.pending'::regclass, 'outbox.busy'::regclass)
  and pg_relation_size(s.relid) > $1::bigint and (s.n_live_tup + s.n_dead_tup) * 1000 < pg_relation_size(s.relid)

-- name: settings
-- read only: what the server, this database and this role are set to, as far as commits, dead rows and wraparound depend on it.
select current_setting('fsync')::bool fsync, current_setting('full_page_writes')::bool full_page_writes,
       current_setting('synchronous_commit') synchronous_commit,
       (select source from pg_settings where name = 'synchronous_commit') synchronous_commit_from,
       current_setting('autovacuum')::bool autovacuum, current_setting('track_counts')::bool track_counts,
       array(select distinct coalesce(r.rolname, 'every role') from pg_db_role_setting d left join pg_roles r on r.oid = d.setrole
             cross join unnest(d.setconfig) setting
             where d.setdatabase in (0, (select oid from pg_database where datname = current_database()))
               and setting ~ '^synchronous_commit=(off|false|no|0)$' order by 1)::text[] without_durability

-- name: wraparound
-- read only: how far this database's oldest row is behind, in transactions, in which table, and from when Postgres freezes by force.
select age(d.datfrozenxid) xids, mxid_age(d.datminmxid) multixacts, current_setting('autovacuum_freeze_max_age')::int forced_at,
       current_setting('autovacuum_multixact_freeze_max_age')::int multixacts_forced_at,
       (select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'm', 't') order by age(c.relfrozenxid) desc, c.oid limit 1) oldest_table
from pg_database d where d.datname = current_database()

-- name: strangers
-- read only: undone rows whose id lies in no day that ids were ever drawn from: no event of that id can be there.
with days as (
  select min(to_date(right(c.relname, 8), 'YYYYMMDD')) first from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'outbox.events'::regclass and c.relname ~ '_[0-9]{8}$')
select place, count(*)::int events, min(event_id) example from (
  select 'pending' place, event_id from outbox.pending union all select 'busy', event_id from outbox.busy
  union all select 'delayed', event_id from outbox.delayed union all select 'dead', event_id from outbox.dead) u
where event_id < (select outbox.first_id(first) from days) or event_id > (select last_value from outbox.event_ids)
group by place order by place
