-- name: rename
-- contacts that Google gave another name: the row goes on under it ($2 -> $3), with what is ours; of two that became one, an imported one.
update crm.google_contacts c set resource_name = p.new
from (select distinct on (p.new) p.old, p.new from unnest($2::text[], $3::text[]) p(old, new)
      join crm.google_contacts o on o.user_id = $1 and o.resource_name = p.old
      where not exists (select from crm.google_contacts n where n.user_id = $1 and n.resource_name = p.new)
      order by p.new, o.imported_at nulls last, p.old) p
where c.user_id = $1 and c.resource_name = p.old

-- name: hand_on
-- a list of everything names no former names: what full run $2 has not met, and what came in it under the same name with an address or a
-- number in common, are one person: the newcomer is imported, or not, and labelled as the other was. Of several, the oldest pair counts.
update crm.google_contacts n set imported_at = pair.imported_at, labels = pair.labels
from (select distinct on (new.id) new.id, old.imported_at, old.labels
      from outbox.runs r
      join crm.google_contacts new on new.user_id = $1 and new.created_at >= r.started_at and new.deleted_at is null
      join crm.google_contacts old on old.user_id = $1 and old.created_at < r.started_at and old.deleted_at is null
        and old.display_name is not distinct from new.display_name and (old.emails && new.emails or old.phones && new.phones)
        and not exists (select from outbox.run_seen s where s.run_id = $2 and s.record = old.resource_name)
      where r.id = $2 order by new.id, old.imported_at nulls last, old.id) pair
where n.id = pair.id
returning n.resource_name

-- name: apply
-- people as Google shows them now ($2); returns those that are new here, or not as we had them. New ones are imported when $3 says so, with label $4.
insert into crm.google_contacts as c (user_id, resource_name, display_name, given_name, family_name, company, title, emails, phones, groups,
                                      changed_at, content_hash, imported_at, labels)
select $1, resource_name, display_name, given_name, family_name, company, title, emails, phones, groups, changed_at, decode(digest, 'hex'),
       case when $3 then now() end, case when $3 and $4::text is not null then array[$4::text] else '{}' end
from jsonb_to_recordset($2::jsonb) p(resource_name text, display_name text, given_name text, family_name text, company text, title text,
                                     emails text[], phones text[], groups text[], changed_at timestamptz, digest text)
order by resource_name
on conflict (user_id, resource_name) do update
set display_name = excluded.display_name, given_name = excluded.given_name, family_name = excluded.family_name, company = excluded.company,
    title = excluded.title, emails = excluded.emails, phones = excluded.phones, groups = excluded.groups, changed_at = excluded.changed_at,
    content_hash = excluded.content_hash, deleted_at = null, synced_at = now()
where c.content_hash <> excluded.content_hash or c.deleted_at is not null
returning resource_name, (xmax = 0) created

-- name: mark_deleted
-- these are gone from Google, or have neither address nor number any more; the rows stay. Only those that are not marked already.
update crm.google_contacts set deleted_at = now(), synced_at = now() where user_id = $1 and resource_name = any ($2::text[]) and deleted_at is null
returning resource_name

-- name: set_aside
-- of the people of a page ($2), those with neither address nor number ($3); $4: it begins a list of everything, so what was known is forgotten.
with known as (
  delete from crm.google_unidentified where user_id = $1 and ($4 or resource_name = any ($2::text[])) and resource_name <> all ($3::text[]))
insert into crm.google_unidentified (user_id, resource_name) select $1, unnest($3::text[]) on conflict do nothing

-- name: unmet
-- read only: how many of a user's contacts full run $2 has not met, and how many there are.
select count(*) filter (where not exists (select from outbox.run_seen s where s.run_id = $2 and s.record = c.resource_name))::int unmet, count(*)::int total
from crm.google_contacts c where c.user_id = $1 and c.deleted_at is null

-- name: sweep
-- those that full run $2 has not met are gone from Google.
update crm.google_contacts c set deleted_at = now(), synced_at = now()
where c.user_id = $1 and c.deleted_at is null and not exists (select from outbox.run_seen s where s.run_id = $2 and s.record = c.resource_name)
returning resource_name

-- name: choose
-- imported from now on, with label $3 (NULL: none). Those of the names $2 that are there; NULL names all of them.
update crm.google_contacts
set imported_at = coalesce(imported_at, now()),
    labels = case when $3::text is null or $3::text = any (labels) then labels else array_append(labels, $3::text) end
where user_id = $1 and deleted_at is null and ($2::text[] is null or resource_name = any ($2::text[]))
returning id

-- name: leave_out
-- not imported any more, and without their labels.
update crm.google_contacts set imported_at = null, labels = '{}'
where user_id = $1 and imported_at is not null and ($2::text[] is null or resource_name = any ($2::text[]))
returning id

-- name: list
-- read only: a user's contacts after id $2, at most $3; $4: only those that are imported, or only those that are not; NULL: both.
select id, resource_name, display_name, company, emails, phones, labels, imported_at, changed_at from crm.google_contacts
where user_id = $1 and deleted_at is null and id > $2 and ($4::boolean is null or (imported_at is not null) = $4)
order by id limit $3
