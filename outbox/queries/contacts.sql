-- name: lock
-- what we know of a contact, locked until the caller's transaction ends.
select content_hash, changed_at, echo_of, deleted_at from crm.contacts where ghl_contact_id = $1 for update

-- name: apply
-- a contact as GHL has it now, only when it is not older than what we have; zero rows: ours is newer. One that is new here may have been a customer before.
insert into crm.contacts as c (ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, tags, custom_fields, added_at, changed_at, content_hash, echo_of, customer_since)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13, $14, (select min(least(starts_at, now())) from crm.appointments where contact_id = $1 and status = 'completed'))
on conflict (ghl_contact_id) do update
set location_id = excluded.location_id, first_name = excluded.first_name, last_name = excluded.last_name, email = excluded.email, phone = excluded.phone,
    company = excluded.company, source = excluded.source, tags = excluded.tags, custom_fields = excluded.custom_fields, added_at = excluded.added_at,
    changed_at = excluded.changed_at, content_hash = excluded.content_hash, echo_of = excluded.echo_of, deleted_at = null, synced_at = now()
where c.changed_at < excluded.changed_at or (c.changed_at = excluded.changed_at and c.content_hash <> excluded.content_hash) or c.deleted_at is not null
returning (xmax = 0) created

-- name: same
-- GHL shows what we have: only its version moves on, and whose write it is when it was ours ($3).
update crm.contacts set changed_at = greatest(changed_at, $2), echo_of = coalesce($3, echo_of), synced_at = now() where ghl_contact_id = $1

-- name: mark_customer
-- lead -> customer, from the first appointment that took place; zero rows: unknown here, or a customer since earlier.
update crm.contacts set customer_since = least($2, now()) where ghl_contact_id = $1 and (customer_since is null or customer_since > $2) returning id

-- name: mark_deleted
-- the contact is gone from GHL's location $2; the row stays, only when it is not marked already and is no other location's.
update crm.contacts set deleted_at = now(), synced_at = now()
where ghl_contact_id = $1 and deleted_at is null and (location_id is null or location_id = $2) returning id

-- name: one
-- read only: a contact.
select ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, tags, custom_fields, changed_at, deleted_at, customer_since, echo_of
from crm.contacts where ghl_contact_id = $1
