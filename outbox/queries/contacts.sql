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

-- name: apply_many
-- as lock, apply and same for a page of contacts ($1, JSON); what comes back is new here or was changed. What is not newer is only read: whoever changes it
-- meanwhile makes it newer still. In order of ids, or two of them deadlock.
with input as materialized (
  select * from jsonb_to_recordset($1::jsonb) t(ghl_contact_id text, location_id text, first_name text, last_name text, email text, phone text, company text,
    source text, tags text[], custom_fields jsonb, added_at timestamptz, changed_at timestamptz, content_hash text)),
newer as materialized (
  select i.* from input i left join crm.contacts c using (ghl_contact_id)
  where c.id is null or c.deleted_at is not null or c.changed_at < i.changed_at
    or (c.changed_at = i.changed_at and c.content_hash <> decode(i.content_hash, 'hex'))),
same as materialized (
  select c.ghl_contact_id, i.changed_at from crm.contacts c join newer i using (ghl_contact_id)
  where c.content_hash = decode(i.content_hash, 'hex') and c.deleted_at is null order by c.ghl_contact_id for update of c),
moved as (
  update crm.contacts c set changed_at = s.changed_at, synced_at = now() from same s where c.ghl_contact_id = s.ghl_contact_id and c.changed_at < s.changed_at)
insert into crm.contacts as c (ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, tags, custom_fields, added_at, changed_at, content_hash, customer_since)
select ghl_contact_id, location_id, first_name, last_name, email, phone, company, source, coalesce(tags, '{}'), custom_fields, added_at, changed_at, decode(content_hash, 'hex'),
       (select min(least(starts_at, now())) from crm.appointments where contact_id = i.ghl_contact_id and status = 'completed')
from newer i where i.ghl_contact_id not in (select ghl_contact_id from same) order by i.ghl_contact_id
on conflict (ghl_contact_id) do update
set location_id = excluded.location_id, first_name = excluded.first_name, last_name = excluded.last_name, email = excluded.email, phone = excluded.phone,
    company = excluded.company, source = excluded.source, tags = excluded.tags, custom_fields = excluded.custom_fields, added_at = excluded.added_at,
    changed_at = excluded.changed_at, content_hash = excluded.content_hash, echo_of = null, deleted_at = null, synced_at = now()
where c.changed_at < excluded.changed_at or (c.changed_at = excluded.changed_at and c.content_hash <> excluded.content_hash) or c.deleted_at is not null
returning ghl_contact_id, (xmax = 0) created

-- name: unseen
-- read only: contacts of location $2 that full run $1 has not met, although they were here before it began ($3); above id $4, at most $5.
select c.ghl_contact_id from crm.contacts c
where c.deleted_at is null and (c.location_id is null or c.location_id = $2) and c.synced_at < $3 and c.ghl_contact_id > $4
  and not exists (select from outbox.run_seen s where s.run_id = $1 and s.record = c.ghl_contact_id)
order by c.ghl_contact_id limit $5

-- name: count_unseen
-- read only: how many contacts of location $2 are here, and how many of them a full run has not met, as `unseen`.
select count(*)::int here,
       (count(*) filter (where c.synced_at < $3 and not exists (select from outbox.run_seen s where s.run_id = $1 and s.record = c.ghl_contact_id)))::int unseen
from crm.contacts c where c.deleted_at is null and (c.location_id is null or c.location_id = $2)
