-- Postroom's whole database, readable top to bottom. `postroom migrate` builds the same from outbox/migrations
-- (a test compares the two). PostgreSQL 15 and newer.
--
--   outbox   the engine: events, who waits, who works, what became of each
--   crm      what is kept in step: contacts and leads, clients, appointments; and links, where one thing has two ids
--
-- An event's life:   stage ─▶ pending ─claim─▶ busy ─settle─▶ (row gone, one row in attempts)
--                       └▶ delayed ─due─▶ ┘      ├─ retry, snooze, hold: stays busy, due_at says until when
--                                                └─ bury ─▶ dead ─replay─▶ pending

create schema outbox;
create schema crm;

create table outbox.migrations (
  version int primary key, name text not null, applied_at timestamptz not null default now(),
  works_with int                                  -- the oldest version whose code it breaks nothing for; NULL: its own
);

-- ───────────────────────────────────────────────────────────────────────────────── events: written once, never updated

-- Ids carry the day, day * 2^36 + n, so a range of ids is a range of time and a partition a day. They stay below 2^53.
create sequence outbox.event_ids;

create function outbox.first_id(day date) returns bigint language sql immutable strict parallel safe
return (day - date '1970-01-01')::bigint << 36;

-- The event whose run this transaction belongs to; NULL: none of ours.
create function outbox.cause() returns bigint language sql stable parallel safe
return nullif(current_setting('postroom.event', true), '')::bigint;

create table outbox.events (
  id        bigint primary key default nextval('outbox.event_ids'),
  staged_at timestamptz not null default now(),
  source    text not null,
  kind      text not null,
  key       text,               -- NULL: the sender gave none, so it cannot be recognised again
  lane      text,               -- NULL: a lane of its own
  payload   bytea not null,     -- the exact bytes that were signed
  headers   bytea,              -- JSON of the few headers worth keeping; NULL: staged by the app
  trace     text,               -- NULL: the sender named none
  cause     bigint default outbox.cause()   -- whose run staged it; NULL: a sender, an app or a clock
) partition by range (id);

-- Finds a lane's events without an entry for each: one small filter for about 16 pages, made when they are full.
create index events_lane on outbox.events using brin (lane text_bloom_ops (n_distinct_per_range = 256)) with (pages_per_range = 16, autosummarize = on);

-- P2: an idempotency key is 128 bits of sha256(source, key). Pruned with its day, never before 30 days.
create table outbox.keys (digest uuid primary key, event_id bigint not null)
  with (autovacuum_vacuum_insert_threshold = -1, autovacuum_freeze_min_age = 0);   -- docs/decisions/storage.md has the reasons for all of these

create function outbox.digest(source text, key text) returns uuid language sql immutable strict parallel safe
return encode(substring(sha256(convert_to(source || E'\x1f' || key, 'UTF8')) for 16), 'hex')::uuid;

create table outbox.duplicates (event_id bigint primary key, seen int not null default 1, last_at timestamptz not null default now());

-- ───────────────────────────────────────────────────────────────── undone events are narrow rows, each in exactly one table

-- The lane's 64-bit name; an event without a lane is a lane of its own. Two names with one hash merely wait for each other.
create function outbox.lane_of(lane text, id bigint) returns bigint language sql immutable parallel safe
return coalesce(hashtextextended(lane, 0), id);

create table outbox.pending (                     -- waits its turn: inserted by stagers, deleted by a claim, never updated
  urgency  smallint not null check (urgency in (0, 1)),           -- 0 live, 1 bulk
  attempt  int      not null default 1,           -- the number its next attempt will have; fills what alignment would waste
  lane     bigint   not null,
  event_id bigint   not null,
  primary key (urgency, lane, event_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off,
        autovacuum_vacuum_insert_threshold = -1);

create table outbox.busy (                        -- the lanes that are not free
  lane     bigint   primary key,                  -- P5 by constraint: one event of a lane at work or waiting for its retry
  event_id bigint   not null,
  urgency  smallint not null,
  owner    bigint,                                -- running: the worker
  due_at   timestamptz,                           -- waiting: until when; infinity: until its destination flows again
  attempt  int      not null default 1,
  failures int      not null default 0,           -- what the retry policy counts
  crashes  smallint not null default 0,           -- take-overs from dead owners
  why      text,                                  -- NULL while running
  check ((owner is null) <> (due_at is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off,
        autovacuum_vacuum_insert_threshold = -1);
create index busy_due on outbox.busy (due_at) where owner is null;
create index busy_held on outbox.busy (why, urgency, event_id) where owner is null and due_at = 'infinity';

create table outbox.delayed (
  due_at   timestamptz not null,
  event_id bigint      not null,
  lane     bigint      not null,
  urgency  smallint    not null,
  attempt  int         not null default 1,
  primary key (due_at, event_id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_insert_threshold = -1);
create index delayed_event on outbox.delayed (event_id);

create table outbox.dead (
  event_id    bigint primary key,
  lane        bigint      not null,
  urgency     smallint    not null,
  attempt     int         not null,
  died_at     timestamptz not null default now(),
  fingerprint text        not null,               -- the same for all that died of one cause
  reason      text        not null
);
create index dead_group on outbox.dead (fingerprint, event_id);

-- One row for each run and each end, append-only. The last row of a settled event says done or skipped.
--   d done   s skipped   r will retry   z snoozed   h held (its destination is not flowing)   x died   c its worker was lost   p replayed
create table outbox.attempts (
  event_id   bigint      not null,
  started_at timestamptz not null,
  owner      bigint      not null,                -- 0: a person or the engine itself
  attempt    int         not null,
  took_ms    int         not null,
  outcome    "char"      not null check (outcome in ('d', 's', 'r', 'z', 'h', 'x', 'c', 'p')),
  note       text
) partition by range (event_id);
-- Several stretches of ids for each 32 pages: the rows of late retries stand among those of newer events.
create index attempts_event on outbox.attempts using brin (event_id int8_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);

-- The journal: one remote effect of an event is one step. An intent without a verdict means the answer was lost.
--   i intent   d done   f found at the far side   n surely not done
create table outbox.steps (
  event_id bigint      not null,
  name     text        not null,
  attempt  int         not null,
  entry    "char"      not null check (entry in ('i', 'd', 'f', 'n')),
  at       timestamptz not null default clock_timestamp(),
  took_ms  int,
  answer   jsonb,                                 -- at most 2 KiB, without secrets; NULL: nothing worth keeping
  note     text
) partition by range (event_id);
create index steps_event on outbox.steps (event_id);
create unique index steps_done on outbox.steps (event_id, name) where entry in ('d', 'f');   -- P6: done once

create table outbox.workers (
  id         bigint generated always as identity primary key,
  name       text        not null,
  started_at timestamptz not null default now(),
  until      timestamptz not null,                -- the lease; covers every event the worker holds
  ended_at   timestamptz,
  version    text,                                -- of its code; NULL: it began before it said so
  renewed_at timestamptz not null default now(),  -- its last sign of life
  keep_days  int                                  -- how old days are when its upkeep drops them; NULL: it began before it said so
);

-- Makes the partitions of today and the next `ahead` days, and moves the ids on when the day has changed.
-- If nobody calls it, ids go on in the last day's partition: nothing stops.
create function outbox.open_days(ahead int default 2) returns void language plpgsql as $$
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
select outbox.open_days();

-- ───────────────────────────────────────────────────────────────────────────────────────────── the one door: outbox.stage

-- Stages an event in the caller's transaction: it exists if and only if that transaction commits (P3).
-- The same key and the same body again returns the first id; the same key with another body raises (SQLSTATE PR001).
create function outbox.stage(kind text, payload jsonb, key text default null, lane text default null,
                             due_at timestamptz default now(), source text default 'app') returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id    bigint;
  first bigint;
  body  bytea := convert_to(stage.payload::text, 'UTF8');
  earlier record;
begin
  if stage.kind is null or stage.kind !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,119}$' then
    raise exception 'outbox.stage: kind % is not a word of letters, digits, dots, dashes or colons (at most 120)', quote_nullable(left(stage.kind, 60))
      using errcode = 'invalid_parameter_value';
  elsif stage.source is null or stage.source !~ '^[a-z][a-z0-9_:-]{0,59}$' then
    raise exception 'outbox.stage: source % is not a lower-case word (at most 60)', quote_nullable(left(stage.source, 60))
      using errcode = 'invalid_parameter_value';
  elsif stage.payload is null or stage.due_at is null then
    raise exception 'outbox.stage: payload and due_at must not be null' using errcode = 'null_value_not_allowed';
  elsif stage.due_at = 'infinity' then
    raise exception 'outbox.stage: due_at must be finite' using errcode = 'invalid_parameter_value';
  elsif length(body) > 1048576 then
    raise exception 'outbox.stage: payload of % bytes is over the limit of 1 MiB; stage a reference instead', length(body)
      using errcode = 'program_limit_exceeded';
  elsif length(stage.key) not between 1 and 400 or length(stage.lane) not between 1 and 400 then
    raise exception 'outbox.stage: key and lane have 1 to 400 characters' using errcode = 'invalid_parameter_value';
  end if;

  id := nextval('outbox.event_ids');
  if stage.key is not null then
    insert into outbox.keys (digest, event_id) values (outbox.digest(stage.source, stage.key), id) on conflict do nothing;
    if not found then
      select k.event_id into first from outbox.keys k where k.digest = outbox.digest(stage.source, stage.key);
      select e.kind, e.payload into earlier from outbox.events e where e.id = first;
      if found and (earlier.kind <> stage.kind or earlier.payload <> body) then
        raise exception 'outbox.stage: key % of source % was used for another event (%)', quote_literal(stage.key), quote_literal(stage.source), first
          using errcode = 'PR001', hint = 'An idempotency key names one event: use a new key for new content.';
      end if;
      insert into outbox.duplicates as d (event_id) values (first)
        on conflict (event_id) do update set seen = d.seen + 1, last_at = now();
      return first;
    end if;
  end if;

  insert into outbox.events (id, source, kind, key, lane, payload) values (id, stage.source, stage.kind, stage.key, stage.lane, body);
  if stage.due_at <= now() then
    insert into outbox.pending (urgency, lane, event_id) values (0, outbox.lane_of(stage.lane, id), id);
  else
    insert into outbox.delayed (due_at, event_id, lane, urgency) values (stage.due_at, id, outbox.lane_of(stage.lane, id), 0);
  end if;
  -- A NOTIFY in every transaction would cap the server at about 3,000 commits/s; whoever gets the lock speaks for all.
  if pg_try_advisory_xact_lock(7311, 2) then
    perform pg_notify('postroom', '');
  end if;
  return id;
end $$;

-- ───────────────────────────────────────────────────────────────────── outbox.watch: an app's own appointments table

-- Row trigger of a watched table: stages appointment.created, .updated, .confirmed, .cancelled or .completed.
create function outbox.stage_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  columns  jsonb := tg_argv[0]::jsonb;             -- our name → the table's column
  statuses jsonb := tg_argv[1]::jsonb;             -- the app's word → ours
  was      jsonb := '{}';
  is_now   jsonb := '{}';
  word     text;
  name     text;
begin
  for name in select jsonb_object_keys(columns) loop
    if tg_op <> 'INSERT' then was := was || jsonb_build_object(name, to_jsonb(old) -> (columns ->> name)); end if;
    if tg_op <> 'DELETE' then is_now := is_now || jsonb_build_object(name, to_jsonb(new) -> (columns ->> name)); end if;
  end loop;
  was := was || case when was ? 'status' then jsonb_build_object('status', coalesce(statuses ->> (was ->> 'status'), was ->> 'status')) else '{}' end;
  is_now := is_now || case when is_now ? 'status' then jsonb_build_object('status', coalesce(statuses ->> (is_now ->> 'status'), is_now ->> 'status')) else '{}' end;

  if tg_op = 'INSERT' then
    word := 'created';
  elsif tg_op = 'DELETE' then
    if was ->> 'status' in ('cancelled', 'completed') then return null; end if;
    word := 'cancelled';
    is_now := was || '{"status": "cancelled"}';
  elsif was = is_now then
    return null;                                    -- nothing that we were asked to watch has changed
  elsif was ->> 'status' is distinct from is_now ->> 'status' and is_now ->> 'status' in ('confirmed', 'cancelled', 'completed') then
    word := is_now ->> 'status';
  else
    word := 'updated';
  end if;
  perform outbox.stage('appointment.' || word,
                       jsonb_build_object('appointment', is_now, 'previous', case when tg_op = 'INSERT' then null else was end),
                       lane => 'appointment:' || (is_now ->> 'id'));
  return null;
end $$;

-- Attaches that trigger. `columns` maps our names (id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id,
-- resource) to the table's own (null: leave it out); `statuses` maps the app's status words to ours (scheduled, confirmed, cancelled,
-- completed). Called again, it replaces the mapping. The last three are GHL's ids and a resource's name, which an app's column of that
-- name need not be: they are watched only when `columns` names them.
create function outbox.watch("table" regclass, columns jsonb default '{}', statuses jsonb default '{}') returns void
language plpgsql as $$
declare
  defaults constant jsonb := '{"id": "id", "status": "status", "starts_at": "starts_at", "ends_at": "ends_at", "contact_id": "contact_id", "title": "title", "notes": "notes",
    "location_id": null, "calendar_id": null, "resource": null}';
  mapping  jsonb := '{}';
  pair     record;
begin
  if jsonb_typeof(columns) is distinct from 'object' or jsonb_typeof(statuses) is distinct from 'object' then
    raise exception 'outbox.watch: columns and statuses are JSON objects' using errcode = 'invalid_parameter_value';
  end if;
  for pair in select key, value from jsonb_each_text(statuses) loop
    if pair.value is null or pair.value not in ('scheduled', 'confirmed', 'cancelled', 'completed') then
      raise exception 'outbox.watch: status % is mapped to %, which is not one of scheduled, confirmed, cancelled, completed',
        quote_literal(pair.key), quote_nullable(pair.value) using errcode = 'invalid_parameter_value';
    end if;
  end loop;
  for pair in select key, value from jsonb_each_text(columns) loop
    if not defaults ? pair.key then
      raise exception 'outbox.watch: % is not one of id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource',
        quote_literal(pair.key) using errcode = 'invalid_parameter_value';
    elsif pair.value is not null and not exists (select from pg_attribute a where a.attrelid = "table" and a.attname = pair.value and a.attnum > 0 and not a.attisdropped) then
      raise exception 'outbox.watch: table % has no column %', "table", quote_ident(pair.value) using errcode = 'undefined_column';
    end if;
  end loop;
  for pair in select key, value from jsonb_each_text(defaults || columns) loop
    if exists (select from pg_attribute a where a.attrelid = "table" and a.attname = pair.value and a.attnum > 0 and not a.attisdropped) then
      mapping := mapping || jsonb_build_object(pair.key, pair.value);
    end if;
  end loop;
  if not mapping ?& array['id', 'status'] then
    raise exception 'outbox.watch: table % needs columns for id and status; name them in columns => ''{"id": "…", "status": "…"}''', "table"
      using errcode = 'undefined_column';
  end if;
  execute format('create or replace trigger postroom_watch after insert or update or delete on %s for each row execute function outbox.stage_change(%L, %L)',
                 "table", mapping, statuses);
end $$;

create function outbox.unwatch("table" regclass) returns void language plpgsql as $$
begin
  execute format('drop trigger if exists postroom_watch on %s', "table");
end $$;

-- ─────────────────────────────────────────────────────── what became of it: one state and one why, for everyone who asks

-- P7: an event is pending, done, skipped or dead. `why` says it in words; `until` when a wait ends (NULL: nobody knows); `mark` is the
-- state, and of a pending event what it waits for: ready, running, retry, snoozed, delayed, behind (in its lane), held (its destination).
-- Each is looked up by its keys: pending and busy, when they were analyzed empty while a snapshot kept their dead rows, seem cheaper to scan.
create function outbox.states(ids bigint[]) returns table (event_id bigint, state text, why text, until timestamptz, attempts int, changed_at timestamptz, mark text)
language sql stable set enable_seqscan = off as $$
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
    coalesce(d.died_at, last.started_at + last.took_ms * interval '1 ms', e.staged_at),
    case when d.event_id is not null then 'dead'
         when b.owner is not null then 'running'
         when b.due_at = 'infinity' then 'held'
         when b.event_id is not null then case when last.outcome = 'z' then 'snoozed' else 'retry' end
         when y.event_id is not null then 'delayed'
         when ahead.event_id is not null then 'behind'
         when p.event_id is not null then 'ready'
         when last.outcome = 'd' then 'done'
         when last.outcome = 's' then 'skipped'
         else 'lost' end
  from outbox.events e
  left join outbox.dead d on d.event_id = e.id
  left join lateral (select b.* from outbox.busy b where b.lane = outbox.lane_of(e.lane, e.id) and b.event_id = e.id limit 1) b on true
  left join lateral (select p.event_id, p.urgency from outbox.pending p where p.urgency in (0, 1) and p.lane = outbox.lane_of(e.lane, e.id) and p.event_id = e.id limit 1) p on true
  left join outbox.delayed y on y.event_id = e.id
  left join lateral (
    select x.event_id from outbox.busy x where p.event_id is not null and x.lane = outbox.lane_of(e.lane, e.id)
    union all
    (select x.event_id from outbox.pending x where p.event_id is not null and x.urgency = p.urgency and x.lane = outbox.lane_of(e.lane, e.id) and x.event_id < e.id
     order by x.event_id limit 1)
    limit 1) ahead on true
  left join (                                      -- by attempt, not by time: workers' clocks may differ
    select distinct on (a.event_id) a.event_id, a.outcome, a.note, a.started_at, a.took_ms,
           count(*) filter (where a.outcome <> 'p' and a.owner <> 0) over (partition by a.event_id) runs
    from outbox.attempts a where a.event_id = any (ids) order by a.event_id, a.attempt desc, a.outcome in ('d', 's') desc) last on last.event_id = e.id
  where e.id = any (ids)
$$;

-- Which of many events are settled, as outbox.states() judges, with their last attempt. The undone ones are told by their keys; the attempts of
-- the others are read in one pass for each stretch of ids, where states() looks once for each event.
create function outbox.settled(ids bigint[]) returns table (event_id bigint, lane bigint, attempt int, outcome "char")
language sql stable set enable_seqscan = off as $$
  with rest as materialized (
    select e.id, e.lane from (
      select e.id, outbox.lane_of(e.lane, e.id) lane from unnest(ids) i(id) cross join lateral (
        select e.id, e.lane from outbox.events e where e.id = i.id offset 0) e) e
    left join lateral (select d.event_id from outbox.dead d where d.event_id = e.id limit 1) d on true
    left join lateral (select b.event_id from outbox.busy b where b.lane = e.lane and b.event_id = e.id limit 1) b on true
    left join lateral (
      select p.event_id from outbox.pending p where p.urgency in (0, 1) and p.lane = e.lane and p.event_id = e.id limit 1) p on true
    left join lateral (select y.event_id from outbox.delayed y where y.event_id = e.id limit 1) y on true
    where coalesce(d.event_id, b.event_id, p.event_id, y.event_id) is null),
  stretches as materialized (                      -- to read what lies between costs less than to look again
    select min(id) low, max(id) high from (
      select id, count(*) filter (where gap > 5000) over (order by id) stretch from (
        select id, id - lag(id) over (order by id) gap from rest) g) s group by stretch),
  last as materialized (                           -- by attempt, not by time: workers' clocks may differ
    select distinct on (a.event_id) a.event_id, a.attempt, a.outcome from stretches s cross join lateral (
      select a.event_id, a.attempt, a.outcome from outbox.attempts a
      where a.event_id >= s.low and a.event_id <= s.high and (a.event_id in (select id from rest)) is true offset 0) a
    order by a.event_id, a.attempt desc, a.outcome in ('d', 's') desc)
  select l.event_id, outbox.lane_of(e.lane, e.id), l.attempt, l.outcome from last l   -- by key: of two such lists a join may compare all with all
  cross join lateral (select e.id, e.lane from outbox.events e where e.id = l.event_id offset 0) e where l.outcome in ('d', 's')
$$;

-- The newest `most` ids of a lane's events below `before` and not below `lowest`, newest first, day by day: for people who look.
create function outbox.in_lane(lane text, before bigint, lowest bigint, most int) returns setof bigint
language plpgsql stable set enable_seqscan = off as $$
declare
  day  record;
  left_ int := most;
  found_ int;
begin
  for day in
    select c.relname, outbox.first_id(to_date(right(c.relname, 8), 'YYYYMMDD')) first
    from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'outbox.events'::regclass order by c.relname desc
  loop
    continue when day.first >= before;
    exit when left_ <= 0 or day.first + (1::bigint << 36) <= lowest;
    return query execute format('with found as materialized (select id from outbox.%I where lane = $1)
      select id from found where id < $2 and id >= $3 order by id desc limit $4', day.relname) using in_lane.lane, before, lowest, left_;
    get diagnostics found_ = row_count;
    left_ := left_ - found_;
  end loop;
end $$;

-- ───────────────────────────────────────────────────────────────────────────── destinations: breaker, pause, rate budget

create table outbox.destinations (
  name     text primary key,
  state    text        not null default 'flowing' check (state in ('flowing', 'open', 'unauthorised', 'paused')),
  why      text,                                  -- NULL while flowing
  by_whom  text,                                  -- who paused or resumed it; NULL: the breaker
  since    timestamptz not null default now(),
  until    timestamptz,                           -- open, unauthorised: when one event may probe; paused: resumes by itself; NULL: a person decides
  opened   int         not null default 0,        -- times in a row that a probe failed
  probe    bigint,                                -- the event that probes now
  probe_at timestamptz,
  changed  xid8        not null default pg_current_xact_id(), -- the transaction that changed the row last: dispatchers read what changed since they looked
  check (state <> 'flowing' or (why is null and until is null and probe is null))
);
create index destinations_changed on outbox.destinations (changed);

create function outbox.destination_changed() returns trigger language plpgsql as $$
begin
  new.changed := pg_current_xact_id();
  return new;
end $$;
create trigger destinations_changed before update on outbox.destinations for each row execute function outbox.destination_changed();

-- One token bucket for each credential, shared by all dispatchers: live events, retries and syncs together.
create table outbox.budgets (
  credential   text primary key,
  tokens       double precision not null,
  at           timestamptz not null default clock_timestamp(),
  paused_until timestamptz,                       -- what the far side's headers asked for; NULL: nothing
  day          date not null default (now() at time zone 'UTC')::date,
  used         int  not null default 0,           -- calls of that day
  daily_left   int,                               -- as the far side last said; NULL: it does not say
  burst        int,                               -- so many calls at once, and per_s a second after that, as whoever called last has it
  per_s        double precision                   -- NULL, like burst: nobody has called since this is noted down
);

create table outbox.routes (                      -- what the dispatcher that began last does with each kind; told for people, read by no engine
  kind       text primary key,
  handler    text not null,
  destination text,                               -- NULL: it calls nobody
  deadline_s double precision not null,
  retries    text not null,                       -- the schedule in words
  schedule_s double precision[] not null,         -- entry n is waited after failure n
  covers     text,                                -- the coalescing word; NULL: it covers no other event
  told_at    timestamptz not null default now(),
  lacks      text                                 -- what has to be set before its destination can be called; NULL: nothing
);

-- ───────────────────────────────────────────────────────────────────── dead letters put right: notes on groups, stored plans

create table outbox.notes (fingerprint text primary key, note text not null, by_whom text not null, at timestamptz not null default now());

-- A plan is what its button does: which dead letters, or (replay) which settled events, counted and kept when it was made. Driven by its
-- row, by whoever locks it.
--
--   made ─start─▶ running ─a portion of the canary is over─▶ resting ─go on─▶ running ─▶ done
--                  ▲ └──stop, or the same error came back──▶ stopping ─what was sent is over─▶ stopped
--                  └────────────────────────────resume────────────┴───────────────────────────────┘
create table outbox.plans (
  id         bigint generated always as identity primary key,
  act        text        not null check (act in ('retry', 'discard', 'replay')),
  state      text        not null default 'made' check (state in ('made', 'running', 'resting', 'stopping', 'stopped', 'done')),
  which      jsonb       not null,                -- the filter as it was told
  ceiling    bigint      not null,                -- the largest id in it
  events     int         not null,
  lanes      int         not null,
  oldest_at  timestamptz not null,                -- when the first of them died, or (replay) was staged
  steps_done int         not null,                -- finished steps of them all, which are not repeated
  newer      int,                                 -- events with a newer one of their lane done; NULL: nobody looked, there are too many lanes
  canary     boolean     not null default true,   -- 1, then 10, then portions of 100; else portions only
  allowed    int         not null default 0,      -- portions up to this one may be taken: after each of the canary's a person decides
  leave_out  boolean     not null default false,  -- those with newer ones done are left as they are
  reason     text,                                -- why they are discarded; NULL: they are not
  why        text,                                -- why it stopped; NULL: it did not
  portion    int         not null default 0,      -- the portion under way
  turn       int         not null default 0,      -- the last turn that was taken
  made_at    timestamptz not null default now(),
  made_by    text        not null,
  started_at timestamptz,
  ended_at   timestamptz,
  kinds      jsonb       not null default '{}',   -- how many of which kind
  excused    int         not null default 0,      -- deaths up to this portion stop it no more: a person saw them and resumed it
  check ((act = 'discard') = (reason is not null)),
  check ((state in ('stopped', 'done')) = (ended_at is not null)),
  check ((state = 'made') = (started_at is null))
);
create index plans_under_way on outbox.plans (id) where state in ('running', 'stopping');

-- What a plan holds, and what became of each: the sum is the plan.
--   d done   s skipped   x dead again, same group   y dead again, another   a no longer as planned: retried by somebody   g gone   l left out
-- Of a replay: x dead, a was not settled.
create table outbox.plan_events (
  plan_id     bigint   not null references outbox.plans on delete cascade,
  turn        int      not null,                  -- oldest first, one of each lane first; of a replay so within each 5,000
  event_id    bigint   not null,
  attempt     int,                                -- when it was planned: with another it is another death; NULL: it was no dead letter
  fingerprint text,                               -- likewise
  is_late     boolean  not null default false,    -- a newer event of its lane was done
  portion     int,                                -- NULL: its turn has not come
  ended       "char"   check (ended in ('d', 's', 'x', 'y', 'a', 'g', 'l')),   -- NULL: not yet
  ended_at    timestamptz,
  primary key (plan_id, turn),
  check (ended is null or portion is not null),
  check ((attempt is null) = (fingerprint is null))
);
create index plan_events_portion on outbox.plan_events (plan_id, portion);
create index plan_events_under_way on outbox.plan_events (plan_id) where portion is not null and ended is null;

-- ─────────────────────────────────────────────────────────────────────────────────────── the front door's own records

create table outbox.sources (
  name             text primary key,
  accepted         bigint not null default 0,
  duplicates       bigint not null default 0,
  rejected         bigint not null default 0,
  last_accepted_at timestamptz,
  last_rejected_at timestamptz,
  last_rejected    text,                          -- the reason
  last_fingerprint text                           -- of the key that matched last
);

create table outbox.source_counts (               -- what came in, by what became of it: accepted, duplicate, or the reason of a rejection
  quarter timestamptz not null,                   -- of an hour
  source  text        not null,
  outcome text        not null,
  seen    bigint      not null,
  primary key (quarter, source, outcome)
);

create table outbox.source_keys (                 -- which key matched when: an old one that has not for long may be taken out
  source      text        not null,
  fingerprint text        not null,
  first_at    timestamptz not null,
  last_at     timestamptz not null,
  primary key (source, fingerprint)
);

create table outbox.rejected (                    -- P11: kept for inspection, bounded in number and size, without secrets
  id         bigint generated always as identity primary key,
  at         timestamptz not null default now(),
  source     text not null,
  reason     text not null,
  detail     text not null,
  remote     text,                                -- the sender's network (/24 or /48), not its address
  body_bytes int  not null,                       -- as far as it was read
  body_head  bytea not null check (length(body_head) <= 200)
);
create index rejected_source on outbox.rejected (source, id);

create table outbox.handshakes (                  -- Notion's verification tokens: candidates, and the promoted ones that are in use
  id          bigint generated always as identity primary key,
  source      text not null,
  sealed      bytea not null,
  fingerprint text not null,
  at          timestamptz not null default now(),
  remote      text,
  promoted_at timestamptz,                        -- NULL: a candidate
  promoted_by text,
  unique (source, fingerprint)
);

create table outbox.connections (                 -- accounts at a provider that a person connected by consent (OAuth)
  destination      text primary key,              -- its own name: breaker, pause, budget and alerts go by it; ghl:<location>
  provider         text        not null,
  account          text        not null,          -- as the provider names it: the location
  company_id       text,                          -- the agency that it belongs to; NULL: the provider has not said
  label            text,                          -- for people; NULL: none given
  state            text        not null check (state in ('active', 'inactive', 'uninstalled')),
  why              text,                          -- NULL: all is well
  sealed           bytea,                         -- the token pair; NULL: there is none
  version          bigint      not null default 1,     -- of the pair; whoever stores a new one names the one before
  expires_at       timestamptz,                   -- of the access token
  refreshing_until timestamptz,                   -- the lease of whoever refreshes; past: it was interrupted; NULL: nobody does
  installed_at     timestamptz,
  refreshed_at     timestamptz,
  uninstalled_at   timestamptz,
  updated_at       timestamptz not null default now(),
  check (state <> 'active' or (sealed is not null and expires_at is not null)),
  check (state <> 'uninstalled' or sealed is null)
);
create index connections_account on outbox.connections (provider, account);
create index connections_resting on outbox.connections (destination) where state <> 'active';

create table outbox.consents (                    -- consents under way: the state that goes out with a link and comes back once
  state_digest bytea primary key,                 -- SHA-256: whoever reads this table cannot end somebody's consent
  provider     text        not null,
  redirect_uri text        not null,
  label        text,
  made_by      text        not null,
  made_at      timestamptz not null default now(),
  expires_at   timestamptz not null,
  account      text,                              -- whose consent it will be, as we name them; NULL: the provider says
  verifier     bytea                              -- PKCE: sealed, for the code's exchange; NULL: the provider asks for none
);

create table outbox.audit (                       -- append-only: who did what
  id     bigint generated always as identity primary key,
  at     timestamptz not null default now(),
  who    text not null,
  via    text not null check (via in ('api', 'cli', 'console')),
  what   text not null,
  target text,
  reason text,
  result jsonb
);

-- ─────────────────────────────────────────────────────────────────────────────────────── syncs: schedules and their runs

create table outbox.syncs (                       -- what is pulled or compared on a schedule; each dispatcher writes down those it knows
  name        text primary key,                   -- google-contacts:<user> where there is one for each account
  destination text,                               -- whom it asks; NULL: nobody
  types       text[]      not null,               -- the kinds of run there are: incremental, full, ...
  off         text,                               -- why it cannot run (a missing credential); NULL: it can
  watermark   timestamptz,                        -- every change up to then is here; NULL: no run has ended well yet
  kept        jsonb       not null default '{}',  -- what a sync itself remembers between runs: a sync token, say
  may_delete  int,                                -- so many deletions a person has allowed the next sweep; NULL: the usual share
  paused_at   timestamptz,                        -- NULL: its schedule runs
  paused_by   text,
  paused_why  text,
  added_at    timestamptz not null default now(),
  succeeded_run bigint,                           -- its newest run that ended well and was no rehearsal; NULL: there was none
  succeeded_at  timestamptz,
  expected_since timestamptz not null default now(),   -- since when it is due as it is: it was resumed, switched on, or its schedule was changed
  overlap_s   int,                                -- so far behind the watermark an incremental run begins to look; NULL: at it
  check ((paused_at is null) = (paused_by is null)),
  check ((succeeded_run is null) = (succeeded_at is null))
);
create index syncs_of_all on outbox.syncs (name) where name not like 'google-contacts:%';   -- beside ten thousand of users a few

create table outbox.schedules (                   -- when runs are staged; the code's defaults, until a person edits one
  sync      text not null references outbox.syncs on delete cascade,
  type      text not null,
  cron      text,                                 -- NULL: every so many seconds instead
  zone      text,                                 -- IANA; with a cron expression only
  every_s   int check (every_s between 10 and 31622400),
  catch_up  text not null check (catch_up in ('skip', 'one')),     -- times that nobody was there for: forgotten, or made good by one run
  is_on     boolean not null default true,
  due_at    timestamptz not null,                 -- the next tick
  fired_at  timestamptz,                          -- the tick before; NULL: there was none
  edited_by text,                                 -- NULL: as the code says
  primary key (sync, type),
  check ((cron is null) <> (every_s is null)),
  check ((cron is null) = (zone is null))
);
create index schedules_due on outbox.schedules (due_at) where is_on;

-- One row for each run of a sync; its id is its event's. Undone ones follow their event: what holds the event holds the run.
--   queued ─▶ running ─▶ done | cancelled | braked      waiting: its event waits (destination held, retry), checkpoint kept
--               ▲ ╲─▶ waiting ─╱ ╲─▶ failed (its event is a dead letter; retried, it goes on at its checkpoint)
create table outbox.runs (
  id          bigint primary key,
  sync        text        not null,
  type        text        not null,
  trigger     text        not null check (trigger in ('schedule', 'gap', 'manual', 'cron')),
  by_whom     text,                               -- who asked; NULL: the schedule
  state       text        not null default 'queued' check (state in ('queued', 'running', 'waiting', 'done', 'failed', 'cancelled', 'braked')),
  reason      text,                               -- of waiting, failed, cancelled and braked
  dry_run     boolean     not null default false,
  hours_back  int check (hours_back between 1 and 87600),         -- NULL: since the watermark
  since       timestamptz,                        -- changes from then (NULL: from the beginning or not begun) ...
  until       timestamptz,                        -- ... to then: both fixed when it first begins; of type range: what was asked for
  created     int not null default 0,
  updated     int not null default 0,
  unchanged   int not null default 0,
  skipped     int not null default 0,
  deleted     int not null default 0,
  errors      int not null default 0,
  total       int generated always as (created + updated + unchanged + skipped + deleted + errors) stored,
  errors_by   jsonb       not null default '{}',  -- api, network, rate limit, validation, conflict: how many; also those that were tried again
  calls       int         not null default 0,     -- calls of the API
  quota_left  int,                                -- calls left today; NULL: the API does not say
  phase       text,                               -- NULL: the only one
  progress    int         not null default 0,     -- of this phase
  expected    int,                                -- NULL: not known
  pages       int         not null default 0,
  checkpoint  jsonb,                              -- where it goes on; NULL: at its beginning
  worked_ms   bigint      not null default 0,     -- at work, waits not counted
  cancel_by   text,                               -- who asked that it ends; NULL: nobody
  asked_at    timestamptz not null default now(),
  started_at  timestamptz,
  ended_at    timestamptz,
  missed      jsonb       not null default '{}',  -- by what it is: {"contacts": {"changed": 40, "missed": 1}}, of which so many no webhook had announced
  quota       int,                                -- calls that the API allows in a day; NULL: it does not say
  pace        real,                               -- records a second over the last minute at work; NULL: it is not at work, or not known
  moved_at    timestamptz,                        -- when it was last written down how far it is; NULL: not yet
  check ((state in ('done', 'failed', 'cancelled', 'braked')) = (ended_at is not null))
);
create index runs_sync on outbox.runs (sync, id);
create index runs_undone on outbox.runs (id) where ended_at is null;
create index runs_failed on outbox.runs (sync, id) where state in ('failed', 'braked');
create unique index runs_next on outbox.runs (sync, type) where state = 'queued' and trigger = 'schedule';   -- ticks do not pile up

-- Row trigger: a run that ended well is its sync's newest success, so that nobody looks for it among all runs.
create function outbox.note_success() returns trigger
language plpgsql as $$
begin
  update outbox.syncs set succeeded_run = new.id, succeeded_at = new.ended_at
  where name = new.sync and coalesce(succeeded_at <= new.ended_at, true);
  return null;
end $$;
create trigger runs_succeeded after insert or update of state on outbox.runs
  for each row when (new.state = 'done' and not new.dry_run) execute function outbox.note_success();

-- The syncs that there is one of for each user: how each stands, by the rules of outbox/light.py; light NULL: a cron expression, so it is worked out there.
create view outbox.user_syncs as
select s.name, s.succeeded_at, d.due_at, lost.needs_consent,
       case when lost.needs_consent then 'grey'
            when s.paused_by = 'postroom' then 'red'
            when s.paused_at is not null or d.sync is null then 'grey'
            when d.has_cron then null
            when now() - greatest(s.succeeded_at, s.expected_since) > 6 * d.every_s * interval '1 s' then 'red'
            when now() - greatest(s.succeeded_at, s.expected_since) >= 2 * d.every_s * interval '1 s' then 'yellow'
            else 'green' end light
from outbox.syncs s
left join (
  select sync, min(every_s) every_s, min(due_at) due_at, count(cron) > 0 has_cron from outbox.schedules
  where is_on and sync like 'google-contacts:%' group by sync) d on d.sync = s.name
left join outbox.connections c on c.destination = s.destination and c.state <> 'active'
cross join lateral (select s.off is not null or c.destination is not null needs_consent) lost
where s.name like 'google-contacts:%';

create table outbox.run_records (                 -- what a run did to which record: bounded, ids only
  run_id   bigint not null references outbox.runs on delete cascade,
  record   text   not null,                       -- the far side's id; '' where it has none
  what     text   not null check (what in ('created', 'updated', 'skipped', 'deleted', 'error')),
  category text check (category in ('api', 'network', 'rate limit', 'validation', 'conflict')),
  note     text,                                  -- without personal data
  at       timestamptz not null default now(),
  check ((what = 'error') = (category is not null))
);
create index run_records_run on outbox.run_records (run_id);

create table outbox.run_seen (                    -- what a full run has met: what it has not is gone over there; emptied when it ends
  run_id bigint not null references outbox.runs on delete cascade,
  record text   not null,
  primary key (run_id, record)
);

create table outbox.wanted (                      -- kinds that are staged only while somebody takes them
  kind    text primary key,
  since   timestamptz not null default now(),
  seen_at timestamptz not null default now()      -- when a dispatcher with a route for it was last there
);

-- ─────────────────────────────────────────────────────────────────────────────────────────────────────── the console

create table outbox.sessions (                    -- who is signed in to the console
  digest     bytea primary key,                   -- SHA-256 of the id in the cookie
  token      bytea       not null,                -- HMAC, under that id, of the access token's digest: says nothing without the cookie
  name       text        not null,
  started_at timestamptz not null default now(),
  seen_at    timestamptz not null default now(),
  until      timestamptz not null,                -- slides with each visit
  network    text,                                -- the browser's network (/24 or /48); NULL: not known
  notice     jsonb                                -- what the last act has to say, until dismissed; NULL: nothing
);

create table outbox.sign_in_links (               -- links that sign in once
  digest bytea primary key,                       -- SHA-256 of the secret in the link
  token  bytea       not null,                    -- HMAC, under that secret, of the access token's digest
  until  timestamptz not null
);

create table outbox.sent_forms (                  -- forms of the console that were sent: each acts once
  id uuid primary key,
  at timestamptz not null default now()
);

-- ──────────────────────────────────────────────────────────────────────────────────── the monitor: rates, charts, alerts

create table outbox.arrivals (                    -- accepted events, by the minute of their staging
  minute   timestamptz not null,
  source   text        not null,
  accepted int         not null,
  primary key (minute, source)
);

create table outbox.arrivals_counted (            -- how far they are counted, as one row
  one     bool        primary key default true check (one),
  next_id bigint      not null default 0,         -- every event below it is counted
  upto    bigint      not null default 0,         -- the next ones to be counted end here ...
  horizon xid8        not null default '0',       -- ... once every transaction that began before this one has ended
  at      timestamptz not null default now()      -- when the last two were noted down
);

create table outbox.minutes (                     -- settlements, by the minute in which they counted; what a killed process had not written is missing
  minute    timestamptz not null,
  kind      text        not null,
  done      int         not null default 0,
  skipped   int         not null default 0,
  dead      int         not null default 0,
  failures  int         not null default 0,       -- runs that failed and are tried again
  settled_ms bigint     not null default 0,       -- staged to done, summed up over those that are done
  late      int         not null default 0,       -- of these, how many took longer than the target
  primary key (minute, kind)
);

create table outbox.calls (                       -- calls that ended, by how long they took: bucket n is up to the n-th power of the root of 2, in ms
  quarter     timestamptz not null,               -- of an hour
  destination text        not null,
  bucket      smallint    not null,
  calls       int         not null,
  failed      int         not null,               -- of these: no whole answer, a credential that is not taken, too many, an error over there
  primary key (quarter, destination, bucket)
);

create table outbox.alerts (                      -- one row for each thing that can be wrong; a change of its state is staged as an event
  name      text        primary key,              -- health, dead-letters, connection:ghl, sync:ghl-contacts
  state     text        not null,                 -- what people were last told
  since     timestamptz not null default now(),
  seen      text        not null,                 -- what it looked like last; told once it has lasted
  seen_at   timestamptz not null default now(),   -- since when it looks like that
  detail    text        not null
);

-- ──────────────────────────────────────────────────────────────────────────────────────────── crm: what is kept in step

create table crm.contacts (                       -- GHL's contacts
  id             bigint generated always as identity primary key,
  ghl_contact_id text not null unique,
  location_id    text,
  first_name     text, last_name text, email text, phone text, company text, source text,
  tags           text[] not null default '{}',
  custom_fields  jsonb  not null default '{}',    -- by field key; by id where the location does not say its key
  added_at       timestamptz,
  changed_at     timestamptz not null,            -- GHL's dateUpdated: the version guard
  content_hash   bytea not null,
  deleted_at     timestamptz,                     -- NULL: it still exists in GHL
  synced_at      timestamptz not null default now(),
  customer_since timestamptz,                     -- when the first appointment took place; NULL: a lead
  echo_of        bigint                           -- the event whose own write GHL showed last; NULL: somebody else's
);

-- The contacts that are no customers yet. xmax: by it, older code tells a row that it made from one that it changed.
create view crm.leads as
select id, ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, tags, custom_fields, added_at, changed_at, content_hash, deleted_at, synced_at, xmax
from crm.contacts where customer_since is null;

-- What an app can see of a contact, without what is empty; NULL: it is deleted. Tags in no order of GHL's. A set of one, because such the planner inlines.
create function crm.shown(contact crm.contacts) returns setof jsonb language sql stable rows 1 as $$
  select case when contact.deleted_at is null then
    jsonb_strip_nulls(jsonb_build_object(
      'location_id', contact.location_id, 'first_name', contact.first_name, 'last_name', contact.last_name, 'email', contact.email, 'phone', contact.phone,
      'company', contact.company, 'source', contact.source, 'customer_since', contact.customer_since,
      'tags', (select jsonb_agg(tag order by tag) from unnest(contact.tags) tag)))
    || (select coalesce(jsonb_object_agg('custom_fields.' || key, value), '{}') from jsonb_each(contact.custom_fields)) end
  limit 1
$$;

-- What contact.changed says of a contact that was so and is so now, and nothing when an app can see no difference. `was` NULL: it is new.
create function crm.contact_change(was crm.contacts, is_now crm.contacts) returns setof jsonb language sql stable rows 1 as $$
  select jsonb_build_object(
    'contact_id', is_now.ghl_contact_id, 'location_id', is_now.location_id, 'changed_at', is_now.changed_at,
    'change', case when was.id is null then 'created' when after is null then 'deleted' when before is null then 'restored' else 'updated' end,
    'fields', (select coalesce(jsonb_agg(key order by key), '[]') from jsonb_object_keys(coalesce(before, '{}') || coalesce(after, '{}')) key
               where before -> key is distinct from after -> key),
    'tags', jsonb_build_object('before', coalesce(before -> 'tags', '[]'), 'after', coalesce(after -> 'tags', '[]')))
  from crm.shown(was) before, crm.shown(is_now) after
  where was.id is null or before is distinct from after
$$;

-- Triggers of crm.contacts: for each contact of the statement that changed so that an app can see it, stages contact.changed, if it is wanted.
create function crm.stage_contact_changes() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  changes jsonb[];
begin
  if not exists (select from outbox.wanted w where w.kind = 'contact.changed') then
    return null;
  end if;
  if tg_op = 'INSERT' then
    select array_agg(change) into changes from is_now n cross join lateral crm.contact_change(null, n) change;
  else  -- a full join, for its plan is kept: made for one row, that of an inner join would be a loop in a loop
    select array_agg(change) into changes from was w full join is_now n using (id) cross join lateral crm.contact_change(w, n) change;
  end if;
  if changes is null then
    return null;
  end if;
  -- As outbox.stage does, but behind live work: a first import changes every contact at once.
  with staged as materialized (
    select nextval('outbox.event_ids') id, 'contact:' || (change ->> 'contact_id') lane, change from unnest(changes) change),
  e as (
    insert into outbox.events (id, source, kind, lane, payload)
    select id, 'postroom', 'contact.changed', lane, convert_to(change::text, 'UTF8') from staged)
  insert into outbox.pending (urgency, lane, event_id) select 1, outbox.lane_of(lane, id), id from staged;
  if pg_try_advisory_xact_lock(7311, 2) then
    perform pg_notify('postroom', '');
  end if;
  return null;
end $$;
create trigger contacts_added after insert on crm.contacts referencing new table as is_now
  for each statement execute function crm.stage_contact_changes();
create trigger contacts_changed after update on crm.contacts referencing old table as was new table as is_now
  for each statement execute function crm.stage_contact_changes();

create table crm.clients (
  notion_page_id    uuid primary key,
  data_source_id    uuid,
  name              text, slug text, contact_email text,
  products_services text[] not null default '{}',
  client_page_info  text,                         -- the page's text
  properties        jsonb  not null default '{}', -- by property id
  url               text,
  edited_at         timestamptz not null,         -- Notion's last_edited_time, rounded down to the minute by Notion
  content_hash      bytea not null,
  in_trash          boolean not null default false,
  synced_at         timestamptz not null default now()
);

-- A text as a range of one text, so that GiST knows = for it: no extension is needed, and no two resources are taken for one.
create type crm.textrange as range (subtype = text, collation = "C", multirange_type_name = crm.textmultirange);

create table crm.appointments (
  id         uuid primary key default gen_random_uuid(),
  status     text not null default 'scheduled' check (status in ('scheduled', 'confirmed', 'cancelled', 'completed')),
  starts_at  timestamptz not null,
  ends_at    timestamptz not null,
  contact_id text,                                -- the GHL contact; NULL: not linked
  title      text not null,
  notes      text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  location_id        text,                        -- the GHL location; NULL: the default one
  calendar_id        text,                        -- the GHL calendar; NULL: the default one, if any
  resource           text check (length(resource) between 1 and 200),   -- what can be booked once at a time; NULL: nothing is exclusive
  ghl_appointment_id text unique,                 -- NULL: not in a calendar of GHL, as far as we know
  ghl_status         text,                        -- GHL's own word; this and the next three: NULL until GHL showed us the appointment
  content_hash       bytea,                       -- of what GHL showed last
  changed_at         timestamptz,                 -- GHL's dateUpdated: the version guard
  echo_of            bigint,                      -- the event whose own write GHL showed; NULL: somebody else's
  check (ends_at > starts_at),
  -- A slot is taken once. The end is not part of it, so that one may begin when another ends; cancelled and completed ones take none.
  constraint appointments_slot exclude using gist (crm.textrange(resource, resource, '[]') with =, tstzrange(starts_at, ends_at) with &&)
    where (resource is not null and status in ('scheduled', 'confirmed'))
);
create index appointments_contact on crm.appointments (contact_id, starts_at);
create index appointments_start on crm.appointments (starts_at);
create index appointments_made on crm.appointments (created_at);

-- scheduled ─▶ confirmed ─▶ completed       The life of an appointment. cancelled and completed are ends; staying is no transition.
--     │  └────────┼────────────▲
--     └───────────┴─▶ cancelled
create function crm.may_become(before text, after text) returns boolean language sql immutable strict parallel safe
return before = after or before = 'scheduled' and after in ('confirmed', 'cancelled', 'completed') or before = 'confirmed' and after in ('cancelled', 'completed');

-- Holds every writer to that life (SQLSTATE PR002).
create function crm.guard_appointment() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  onward text;
begin
  if tg_op = 'UPDATE' and crm.may_become(old.status, new.status) is not true then
    select string_agg(word, ' or ' order by word) into onward
    from unnest(array['scheduled', 'confirmed', 'cancelled', 'completed']) word where word <> old.status and crm.may_become(old.status, word);
    raise exception 'An appointment that is % cannot become %; %.', old.status, coalesce(new.status, 'NULL'), coalesce('it can become ' || onward, 'that is an end')
      using errcode = 'PR002', schema = 'crm', table = 'appointments', column = 'status';
  end if;
  -- Those who write to one resource take turns. The constraint alone lets two who write at once wait for each other's row, until
  -- one of them dies as a deadlock instead of being told that the slot is taken.
  if new.resource is not null and new.status in ('scheduled', 'confirmed') then
    perform pg_advisory_xact_lock(7313, hashtext(new.resource));
  end if;
  return new;
end $$;
create trigger appointments_guard before insert or update on crm.appointments for each row execute function crm.guard_appointment();

create table crm.links (                          -- one thing, two ids: an app's own appointment and the one in GHL's calendar, say
  kind        text not null,                      -- what it is: appointment, phorest-client
  ours        text not null,
  theirs      text not null,
  destination text not null,                      -- where their id is known
  created_at  timestamptz not null default now(),
  our_hash    bytea,                              -- of what we wrote last; NULL: not kept
  their_hash  bytea,                              -- of what was shown there after it; NULL: not kept
  made        boolean     not null default false, -- we created the other one: a rollback deletes it
  shared      boolean     not null default false, -- the other one is another's of ours, too: a family with one telephone
  event_id    bigint,                             -- whose event wrote last; NULL: not kept
  seen_at     timestamptz,                        -- when a walk over the far side last met it; NULL: never
  primary key (kind, ours)
);
create unique index links_theirs on crm.links (destination, kind, theirs) where not shared;
create index links_made on crm.links (kind, ours) where made;

create table crm.phorest_records (                -- what Phorest showed, as it came; a table of its own for each kind
  kind         text not null,
  id           text not null,
  branch_id    text,                              -- NULL: of the whole business
  client_id    text,                              -- whom it is about
  booking_id   text,
  merged_to    text,                              -- a client that was merged into this one; NULL: it stands for itself
  version      bigint,                            -- Phorest's own, and the next: the version guard
  changed_at   timestamptz,
  original     jsonb       not null,
  content_hash bytea       not null,
  deleted      boolean     not null default false,
  warning      text,                              -- what GHL would not take of it; NULL: nothing to say
  created_at   timestamptz not null default now(),
  imported_at  timestamptz not null default now(),
  seen_at      timestamptz not null default now(),   -- when a walk over everything last met it
  primary key (kind, id)
) partition by list (kind);
create table crm.phorest_clients      partition of crm.phorest_records for values in ('client');
create table crm.phorest_appointments partition of crm.phorest_records for values in ('appointment');
create table crm.phorest_bookings     partition of crm.phorest_records for values in ('booking');
create table crm.phorest_checkins     partition of crm.phorest_records for values in ('checkin');
create table crm.phorest_loyalty      partition of crm.phorest_records for values in ('loyalty');
create table crm.phorest_staff        partition of crm.phorest_records for values in ('staff');
create table crm.phorest_products     partition of crm.phorest_records for values in ('product');
create index phorest_records_client on crm.phorest_records (client_id);
create index phorest_records_booking on crm.phorest_records (booking_id) where booking_id is not null;
create index phorest_records_merged on crm.phorest_records (merged_to) where merged_to is not null;

create table crm.phorest_repairs (                -- clients that something waits for: one repair each, however many ask
  client_id text primary key,
  event_id  bigint,                               -- the event that repairs; NULL: it is being staged
  refused   text,                                 -- why it cannot be in GHL; NULL: the repair is under way
  asked_at  timestamptz not null default now()
);

create table crm.phorest_rollbacks (               -- what we made at GHL for Phorest is taken back: one row each time that this was begun
  id         bigint generated always as identity primary key,
  made       jsonb       not null,                -- how much there was to delete when it began, by kind of record
  by_whom    text        not null,
  begun_at   timestamptz not null default now(),
  staged_at  timestamptz,                         -- when all its deletions were staged; NULL: not yet, or that was broken off
  stopped_at timestamptz,                         -- nothing more is deleted, until it is begun anew; NULL: nobody stopped it
  stopped_by text,
  check ((stopped_at is null) = (stopped_by is null))
);
create unique index phorest_rollbacks_begun on crm.phorest_rollbacks ((true)) where staged_at is null and stopped_at is null;   -- one at a time

create table crm.audits (                         -- both sides compared, one row for each run of an audit
  id         bigint primary key,                  -- the run's
  system     text        not null,                -- phorest
  started_at timestamptz not null,
  ended_at   timestamptz,                         -- NULL: under way, or it never ended
  counts     jsonb       not null default '{}'    -- by kind: how many there are there, here, linked, at GHL
);
create index audits_system on crm.audits (system, id);

create table crm.audit_gaps (                     -- what one side has and the other lacks
  audit_id bigint not null references crm.audits on delete cascade,
  kind     text   not null,
  id       text   not null,
  gap      text   not null check (gap in ('not here', 'not in phorest', 'not in ghl', 'not sent', 'out of date')),
  repair   bigint,                                -- the event that mends it; NULL: a person decides
  at       timestamptz not null default now(),
  primary key (audit_id, kind, id, gap)
);

create table crm.google_users (                   -- whose Google contacts are kept in step; when is in outbox.schedules, for sync google-contacts:<user>
  user_id    text primary key check (user_id ~ '^[A-Za-z0-9_-]{1,64}$'),    -- the app's own id of them
  imports    text not null default 'all' check (imports in ('all', 'chosen')),
  label      text check (length(label) between 1 and 100),     -- for what is imported by itself; NULL: none
  updated_at timestamptz not null default now()
);

create table crm.google_contacts (
  id            bigint generated always as identity primary key,
  user_id       text not null references crm.google_users on delete cascade,
  resource_name text not null,                    -- Google's, which it may change
  display_name  text, given_name text, family_name text, company text, title text,
  emails        text[] not null default '{}',     -- in lower case
  phones        text[] not null default '{}',     -- E.164 where Google made that of them
  groups        text[] not null default '{}',     -- of the owner's own, at Google
  labels        text[] not null default '{}',     -- ours; Google never sees them
  changed_at    timestamptz,                      -- Google's updateTime; NULL: it did not say
  content_hash  bytea not null,
  imported_at   timestamptz,                      -- NULL: known, but not chosen
  deleted_at    timestamptz,                      -- NULL: it is at Google, with an e-mail address or a phone number
  synced_at     timestamptz not null default now(),
  created_at    timestamptz not null default now(),
  unique (user_id, resource_name)
);

create table crm.google_unidentified (             -- a user's contacts at Google that are left out: neither an e-mail address nor a phone number
  user_id       text not null references crm.google_users on delete cascade,
  resource_name text not null,
  primary key (user_id, resource_name)
);

-- Whoever is not the owner of these tables sees what belongs to the user that postroom.user_id names, and nothing when it names none.
alter table crm.google_users enable row level security;
alter table crm.google_contacts enable row level security;
alter table crm.google_unidentified enable row level security;
create policy own_unidentified on crm.google_unidentified using (user_id = current_setting('postroom.user_id', true));
create policy own_settings on crm.google_users using (user_id = current_setting('postroom.user_id', true));
create policy own_contacts on crm.google_contacts using (user_id = current_setting('postroom.user_id', true));

-- ───────────────────────────────────────────────────────────────────────────────────────────────── who may call what

-- Nobody but the owner, until it is granted. An app's role needs no more than
--   grant usage on schema outbox to app; grant execute on function outbox.stage to app;
-- outbox.stage and the trigger of outbox.watch run with the owner's rights, so the role cannot read an event, its own neither.
revoke execute on all functions in schema outbox from public;
revoke execute on function crm.may_become, crm.guard_appointment, crm.shown, crm.contact_change, crm.stage_contact_changes from public;
