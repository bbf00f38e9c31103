-- name: pins
-- read only: what keeps dead rows of this database (or of the catalogs) from being cleared away, the oldest first. Never what anybody ran:
-- that may hold what is personal. Of others' sessions a role without pg_read_all_stats sees no time and no state (NULL).
with pins as (
  -- this database's transactions, but for vacuums, which hold nothing back
  select 'backend' what, a.pid::text name, a.application_name application, a.usename::text role, a.state, a.xact_start since,
         greatest(age(a.backend_xmin), age(a.backend_xid)) xids, 'rows' keeps, null::bigint wal_bytes
  from pg_stat_activity a
  where (a.backend_xmin is not null or a.backend_xid is not null) and a.datname = current_database() and a.pid <> pg_backend_pid()
    and coalesce(a.backend_type, '') not in ('autovacuum worker', 'walsender')
    and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
  union all                                        -- a standby that says what its readers need (hot_standby_feedback), without a slot
  select 'standby', a.pid::text, a.application_name, a.usename::text, a.state, a.backend_start, age(a.backend_xmin), 'rows', null
  from pg_stat_activity a where a.backend_type = 'walsender' and a.backend_xmin is not null
  union all                                        -- transactions whose commit was prepared, and whose coordinator never came back
  select 'prepared', p.gid, null, p.owner::text, null, p.prepared, age(p.transaction), 'rows', null
  from pg_prepared_xacts p where p.database = current_database()
  union all                                        -- a slot keeps what its subscriber has not seen, also while nobody is connected
  select 'slot', s.slot_name::text, s.plugin::text, null, case when s.active then 'active' else 'inactive' end,
         (to_jsonb(s) ->> 'inactive_since')::timestamptz, greatest(age(s.xmin), age(s.catalog_xmin)),
         case when s.xmin is not null then 'rows' else 'catalogs' end,
         pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end, s.restart_lsn)::bigint
  from pg_replication_slots s where s.xmin is not null or s.catalog_xmin is not null)
select *, extract(epoch from clock_timestamp() - since)::float8 age_s from pins order by xids desc, since
