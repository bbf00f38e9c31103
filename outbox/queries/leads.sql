-- name: apply
-- a contact as GHL has it now, only when it is newer than what we have; zero rows: ours is as new.
insert into crm.leads as l (ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, tags, custom_fields, added_at, changed_at, content_hash)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13)
on conflict (ghl_contact_id) do update
set location_id = excluded.location_id, first_name = excluded.first_name, last_name = excluded.last_name, email = excluded.email, phone = excluded.phone,
    company = excluded.company, source = excluded.source, tags = excluded.tags, custom_fields = excluded.custom_fields, added_at = excluded.added_at,
    changed_at = excluded.changed_at, content_hash = excluded.content_hash, deleted_at = null, synced_at = now()
where l.changed_at < excluded.changed_at or (l.changed_at = excluded.changed_at and l.content_hash <> excluded.content_hash) or l.deleted_at is not null
returning (xmax = 0) created

-- name: mark_deleted
-- the contact is gone from GHL; the row stays, only when it is not marked already.
update crm.leads set deleted_at = now(), synced_at = now() where ghl_contact_id = $1 and deleted_at is null returning id

-- name: one
-- read only: a lead.
select ghl_contact_id, first_name, last_name, email, phone, company, source, tags, custom_fields, changed_at, deleted_at from crm.leads where ghl_contact_id = $1
