-- name: contacts
-- read only: GHL's contacts as they are shown: is ours the same or newer, or does an event of its lane wait (or lie dead)?
select s.id, coalesce(c.deleted_at is null and (c.content_hash = s.digest or c.changed_at > s.changed_at), false) is_known,
       exists (select from outbox.pending p where p.urgency in (0, 1) and p.lane = l.lane) or exists (select from outbox.busy b where b.lane = l.lane)
       or exists (select from outbox.dead d where d.lane = l.lane) waits
from unnest($1::text[], $2::timestamptz[], $3::bytea[]) s(id, changed_at, digest)
cross join lateral (select outbox.lane_of('ghl:contact:' || s.id, 0) lane) l
left join crm.contacts c on c.ghl_contact_id = s.id

-- name: appointments
-- read only: as contacts, of appointments; one without a digest is not shown any more where we have it.
select s.id, coalesce(s.digest is not null and (a.content_hash = s.digest or a.changed_at > s.changed_at or a.ghl_status = 'deleted'), false) is_known,
       exists (select from outbox.pending p where p.urgency in (0, 1) and p.lane = l.lane) or exists (select from outbox.busy b where b.lane = l.lane)
       or exists (select from outbox.dead d where d.lane = l.lane) waits
from unnest($1::text[], $2::timestamptz[], $3::bytea[]) s(id, changed_at, digest)
cross join lateral (select outbox.lane_of('ghl:appointment:' || s.id, 0) lane) l
left join crm.appointments a on a.ghl_appointment_id = s.id

-- name: not_shown
-- read only: appointments that we have in calendar $1 from $2 to before $3, as GHL showed them before $4, that are none of $5.
select ghl_appointment_id, changed_at from crm.appointments
where calendar_id = $1 and starts_at >= $2 and starts_at < $3 and changed_at < $4 and ghl_status is distinct from 'deleted'
  and ghl_appointment_id is not null and ghl_appointment_id <> all ($5::text[])
order by ghl_appointment_id
