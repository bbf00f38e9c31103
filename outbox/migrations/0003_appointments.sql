-- works with code from 0001
-- Appointments in full: of several GHL locations, of resources that can be booked once at a time, in step with GHL's calendars;
-- and links, for apps whose appointments are in a table of their own.

-- A text as a range of one text, so that GiST knows = for it: no extension is needed, and no two resources are taken for one.
create type crm.textrange as range (subtype = text, collation = "C", multirange_type_name = crm.textmultirange);

alter table crm.appointments
  add column location_id        text,                        -- the GHL location; NULL: the default one
  add column calendar_id        text,                        -- the GHL calendar; NULL: the default one, if any
  add column resource           text check (length(resource) between 1 and 200),   -- what can be booked once at a time; NULL: nothing is exclusive
  add column ghl_appointment_id text unique,                 -- NULL: not in a calendar of GHL, as far as we know
  add column ghl_status         text,                        -- GHL's own word; this and the next three: NULL until GHL showed us the appointment
  add column content_hash       bytea,                       -- of what GHL showed last
  add column changed_at         timestamptz,                 -- GHL's dateUpdated: the version guard
  add column echo_of            bigint,                      -- the event whose own write GHL showed; NULL: somebody else's
  -- A slot is taken once. The end is not part of it, so that one may begin when another ends; cancelled and completed ones take none.
  add constraint appointments_slot exclude using gist (crm.textrange(resource, resource, '[]') with =, tstzrange(starts_at, ends_at) with &&)
    where (resource is not null and status in ('scheduled', 'confirmed'));
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
  kind        text not null,                      -- what it is: appointment
  ours        text not null,
  theirs      text not null,
  destination text not null,                      -- where their id is known
  created_at  timestamptz not null default now(),
  primary key (kind, ours),
  unique (destination, kind, theirs)
);

-- Attaches that trigger. `columns` maps our names (id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id,
-- resource) to the table's own (null: leave it out); `statuses` maps the app's status words to ours (scheduled, confirmed, cancelled,
-- completed). Called again, it replaces the mapping. The last three are GHL's ids and a resource's name, which an app's column of that
-- name need not be: they are watched only when `columns` names them.
create or replace function outbox.watch("table" regclass, columns jsonb default '{}', statuses jsonb default '{}') returns void
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

revoke execute on function crm.may_become, crm.guard_appointment from public;
