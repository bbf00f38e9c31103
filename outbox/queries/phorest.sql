-- name: apply
-- records as Phorest shows them now, those that are not older than what we have and differ from it; what comes back was new or changed.
insert into crm.phorest_records as r (kind, id, branch_id, client_id, booking_id, merged_to, version, changed_at, original, content_hash, deleted)
select $1, t.* from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::timestamptz[], $9::jsonb[], $10::bytea[], $11::bool[])
  t(id, branch_id, client_id, booking_id, merged_to, version, changed_at, original, content_hash, deleted)
order by id
on conflict (kind, id) do update
set branch_id = excluded.branch_id, client_id = excluded.client_id, booking_id = excluded.booking_id, merged_to = excluded.merged_to,
    version = excluded.version, changed_at = excluded.changed_at, original = excluded.original, content_hash = excluded.content_hash,
    deleted = excluded.deleted, imported_at = now(), seen_at = now()
where r.content_hash <> excluded.content_hash
  and coalesce(excluded.version, 0) >= coalesce(r.version, 0)
  and coalesce(excluded.changed_at, '-infinity') >= coalesce(r.changed_at, '-infinity')
returning id, created_at = now() created

-- name: one
-- read only: a record, with its link.
select r.kind, r.id, r.branch_id, r.client_id, r.booking_id, r.merged_to, r.version, r.changed_at, r.original, r.content_hash, r.deleted, r.warning,
       l.theirs, l.our_hash, l.made, l.shared
from crm.phorest_records r left join crm.links l on l.kind = 'phorest-' || r.kind and l.ours = r.id
where r.kind = $1 and r.id = $2

-- name: of_booking
-- read only: the appointments of these bookings.
select id, booking_id, branch_id, client_id, version, changed_at, original, deleted from crm.phorest_records
where kind = 'appointment' and booking_id = any ($1) order by booking_id, original ->> 'appointmentDate', original ->> 'startTime', id

-- name: warn
-- GHL would not take it as it is; zero rows: we have no such record.
update crm.phorest_records set warning = $3 where kind = $1 and id = $2 returning id

-- name: gone
-- Phorest has it no more; zero rows: unknown here, or known to be gone.
update crm.phorest_records set deleted = true, imported_at = now() where kind = $1 and id = $2 and not deleted returning id

-- name: client
-- read only: the client that this one is by now, after all mergers (twenty at most, and in no circle), and its contact.
with recursive chain(id, depth) as (
  select $1::text, 0
  union all
  select r.merged_to, depth + 1 from chain join crm.phorest_records r on r.kind = 'client' and r.id = chain.id
  where r.merged_to is not null and depth < 20)
select c.id, l.theirs contact_id, exists (select from crm.phorest_records r where r.kind = 'client' and r.id = c.id) known
from (select id from chain order by depth desc limit 1) c
left join crm.links l on l.kind = 'phorest-client' and l.ours = c.id

-- name: blocked
-- read only: what is about a client, or about one that was merged into it, and was left out because the client was not in GHL ($2).
with recursive same(id) as (
  select $1::text
  union
  select r.id from same join crm.phorest_records r on r.merged_to = same.id and r.kind = 'client')
select r.kind, r.id from same join crm.phorest_records r on r.client_id = same.id where r.warning like $2 || '%' order by r.kind, r.id

-- name: about
-- read only: the lanes of what is about a client, or about one that was merged into it.
with recursive same(id) as (
  select $1::text
  union
  select r.id from same join crm.phorest_records r on r.merged_to = same.id and r.kind = 'client')
select 'phorest:' || r.kind || ':' || r.id lane from same join crm.phorest_records r on r.client_id = same.id where r.kind <> 'client'
