-- works with code from 0001
-- contact.changed: what changes a contact stages it in the same transaction, while somebody takes it.

create table outbox.wanted (                      -- kinds that are staged only while somebody takes them
  kind    text primary key,
  since   timestamptz not null default now(),
  seen_at timestamptz not null default now()      -- when a dispatcher with a route for it was last there
);

-- What an app can see of a contact, without what is empty; NULL: it is deleted. Tags in no order of GHL's.
create function crm.shown(contact crm.contacts) returns jsonb language sql stable
return case when contact.deleted_at is null then
  jsonb_strip_nulls(jsonb_build_object(
    'location_id', contact.location_id, 'first_name', contact.first_name, 'last_name', contact.last_name, 'email', contact.email, 'phone', contact.phone,
    'company', contact.company, 'source', contact.source, 'customer_since', contact.customer_since,
    'tags', (select jsonb_agg(tag order by tag) from unnest(contact.tags) tag)))
  || (select coalesce(jsonb_object_agg('custom_fields.' || key, value), '{}') from jsonb_each(contact.custom_fields)) end;

-- Row trigger of crm.contacts: stages contact.changed, if it is wanted and something that an app can see has changed.
create function crm.stage_contact_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  was    jsonb;
  is_now jsonb;
  fields jsonb;
  word   text;
  lane   text := 'contact:' || new.ghl_contact_id;
  id     bigint;
begin
  if not exists (select from outbox.wanted w where w.kind = 'contact.changed') then
    return null;
  end if;
  was := case when tg_op = 'UPDATE' then crm.shown(old) end;
  is_now := crm.shown(new);
  if was is not distinct from is_now then
    return null;
  elsif tg_op = 'INSERT' then
    word := 'created';
  elsif old.deleted_at is null and new.deleted_at is not null then
    word := 'deleted';
  elsif old.deleted_at is not null and new.deleted_at is null then
    word := 'restored';
  else
    word := 'updated';
  end if;
  select coalesce(jsonb_agg(key order by key), '[]') into fields
  from jsonb_each(coalesce(was, '{}')) w full join jsonb_each(coalesce(is_now, '{}')) n using (key) where w.value is distinct from n.value;
  -- As outbox.stage does, but behind live work: a first import changes every contact at once.
  id := nextval('outbox.event_ids');
  insert into outbox.events (id, source, kind, lane, payload) values (id, 'postroom', 'contact.changed', lane, convert_to(jsonb_build_object(
    'contact_id', new.ghl_contact_id, 'location_id', new.location_id, 'change', word, 'fields', fields, 'changed_at', new.changed_at,
    'tags', jsonb_build_object('before', coalesce(was -> 'tags', '[]'), 'after', coalesce(is_now -> 'tags', '[]')))::text, 'UTF8'));
  insert into outbox.pending (urgency, lane, event_id) values (1, outbox.lane_of(lane, id), id);
  if pg_try_advisory_xact_lock(7311, 2) then
    perform pg_notify('postroom', '');
  end if;
  return null;
end $$;
create trigger contacts_changed after insert or update on crm.contacts for each row execute function crm.stage_contact_change();
revoke execute on function crm.shown, crm.stage_contact_change from public;
