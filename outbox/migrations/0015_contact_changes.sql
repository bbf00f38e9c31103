-- works with code from 0001
-- contact.changed is staged once a statement, not once a row: a page of a sync, or an app's own update of many, then costs a third.

drop trigger contacts_changed on crm.contacts;
drop function crm.stage_contact_change;
drop function crm.shown;

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
revoke execute on function crm.shown, crm.contact_change, crm.stage_contact_changes from public;
