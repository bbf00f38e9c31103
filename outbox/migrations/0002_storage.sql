-- works with code from 0001
-- How each table is vacuumed, in docs/decisions/storage.md with its reasons; and states read the attempts of an event once, not twice.

alter table outbox.keys set (autovacuum_vacuum_insert_threshold = -1, autovacuum_freeze_min_age = 0);
alter table outbox.pending set (autovacuum_vacuum_insert_threshold = -1);
alter table outbox.busy set (autovacuum_vacuum_insert_threshold = -1);
alter table outbox.delayed set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
                                autovacuum_vacuum_insert_threshold = -1);

do $$
declare
  part regclass;
begin
  for part in select inhrelid from pg_inherits where inhparent in ('outbox.events'::regclass, 'outbox.attempts'::regclass, 'outbox.steps'::regclass) loop
    execute format('alter table %s set (autovacuum_vacuum_insert_threshold = -1, autovacuum_freeze_min_age = 0)', part);
  end loop;
end $$;

-- Makes the partitions of today and the next `ahead` days, and moves the ids on when the day has changed.
-- If nobody calls it, ids go on in the last day's partition: nothing stops.
create or replace function outbox.open_days(ahead int default 2) returns void language plpgsql as $$
declare
  today date := (now() at time zone 'UTC')::date;
  day   date;
  part  text;
  base  text;
begin
  perform pg_advisory_xact_lock(7311, 1);
  for day in select today + n from generate_series(0, ahead) n loop
    foreach base in array array['events', 'attempts', 'steps'] loop
      part := base || '_' || to_char(day, 'YYYYMMDD');
      continue when to_regclass('outbox.' || part) is not null;
      -- attached rather than created in place: that needs no exclusive lock on the parent. Never vacuumed for its inserts: it is
      -- dropped before that pays; if Postgres must freeze it after all, it does so once.
      execute format('create table outbox.%I (like outbox.%I including defaults including constraints)
                      with (autovacuum_vacuum_insert_threshold = -1, autovacuum_freeze_min_age = 0)', part, base);
      execute format('alter table outbox.%I attach partition outbox.%I for values from (%s) to (%s)',
                     base, part, outbox.first_id(day), outbox.first_id(day + 1));
    end loop;
  end loop;
  perform setval('outbox.event_ids', outbox.first_id(today), true)
    from outbox.event_ids where last_value < outbox.first_id(today);
end $$;

create or replace function outbox.states(ids bigint[]) returns table (event_id bigint, state text, why text, until timestamptz, attempts int, changed_at timestamptz)
language sql stable as $$
  select e.id,
    case when d.event_id is not null then 'dead'
         when coalesce(b.event_id, p.event_id, y.event_id) is not null then 'pending'
         when last.outcome = 'd' then 'done'
         when last.outcome = 's' then 'skipped'
         else 'lost' end,                          -- promise P7 says that this word never appears
    case when d.event_id is not null then d.reason
         when b.owner is not null then 'running'
         when b.due_at = 'infinity' then coalesce(b.why, 'held')
         when b.event_id is not null then coalesce(b.why, 'waiting')
         when y.event_id is not null then 'delayed'
         when p.event_id is not null and ahead.event_id is not null then 'behind #' || ahead.event_id || ' in its lane'
         when p.event_id is not null then 'ready'
         else last.note end,
    case when b.due_at < 'infinity' then b.due_at when y.event_id is not null then y.due_at end,
    greatest(coalesce(last.runs, 0), case when b.owner is not null then b.attempt else 0 end)::int,
    coalesce(d.died_at, last.started_at + last.took_ms * interval '1 ms', e.staged_at)
  from outbox.events e
  left join outbox.dead d on d.event_id = e.id
  left join outbox.busy b on b.lane = outbox.lane_of(e.lane, e.id) and b.event_id = e.id
  left join lateral (select p.event_id, p.urgency from outbox.pending p where p.urgency in (0, 1) and p.lane = outbox.lane_of(e.lane, e.id) and p.event_id = e.id limit 1) p on true
  left join outbox.delayed y on y.event_id = e.id
  left join lateral (
    select x.event_id from outbox.busy x where p.event_id is not null and x.lane = outbox.lane_of(e.lane, e.id)
    union all
    (select x.event_id from outbox.pending x where p.event_id is not null and x.urgency = p.urgency and x.lane = outbox.lane_of(e.lane, e.id) and x.event_id < e.id
     order by x.event_id limit 1)
    limit 1) ahead on true
  left join lateral (                              -- by attempt, not by time: workers' clocks may differ
    select a.outcome, a.note, a.started_at, a.took_ms, count(*) filter (where a.outcome <> 'p' and a.owner <> 0) over () runs
    from outbox.attempts a where a.event_id = e.id order by a.attempt desc, a.outcome in ('d', 's') desc limit 1) last on true
  where e.id = any (ids)
$$;
