-- name: create
-- a new appointment; the caller stages its event in the same transaction. The constraint appointments_slot refuses a slot that is taken.
insert into crm.appointments (status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
returning id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource, ghl_appointment_id, ghl_status, created_at, updated_at

-- name: create_once
-- under an id that the caller derived from an idempotency key; zero rows: there is one already.
insert into crm.appointments (id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do nothing
returning id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource, ghl_appointment_id, ghl_status, created_at, updated_at

-- name: lock
-- the appointment as it is, locked until the caller's transaction ends.
select id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource, ghl_appointment_id, ghl_status, created_at, updated_at
from crm.appointments where id = $1 for update

-- name: change
-- the appointment's new state; the caller holds the lock. The trigger appointments_guard refuses a status that its life does not allow.
update crm.appointments set status = $2, starts_at = $3, ends_at = $4, contact_id = $5, title = $6, notes = $7,
  location_id = $8, calendar_id = $9, resource = $10, updated_at = now()
where id = $1
returning id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource, ghl_appointment_id, ghl_status, created_at, updated_at

-- name: in_the_way
-- read only: the first standing appointment of resource $1 that overlaps the time from $2 to $3, and is not $4.
select id, starts_at, ends_at from crm.appointments
where crm.textrange(resource, resource, '[]') = crm.textrange($1, $1, '[]') and tstzrange(starts_at, ends_at) && tstzrange($2, $3)
  and resource is not null and status in ('scheduled', 'confirmed') and id is distinct from $4 order by starts_at limit 1

-- name: one
-- read only: an appointment.
select id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource, ghl_appointment_id, ghl_status, created_at, updated_at
from crm.appointments where id = $1

-- name: list
-- read only: newest first, at most $3; NULL filters do not filter. $7 and $8 bound when it starts.
select id, status, starts_at, ends_at, contact_id, title, notes, location_id, calendar_id, resource, ghl_appointment_id, ghl_status, created_at, updated_at
from crm.appointments
where ($1::text is null or status = $1) and ($2::text is null or contact_id = $2) and ($4::timestamptz is null or created_at < $4)
  and ($5::text is null or resource = $5) and ($6::text is null or location_id = $6)
  and ($7::timestamptz is null or starts_at >= $7) and ($8::timestamptz is null or starts_at < $8)
order by created_at desc, id limit $3

-- name: next_of_contact
-- read only: when the contact's next appointment that still stands starts.
select min(starts_at) from crm.appointments where contact_id = $1 and status in ('scheduled', 'confirmed') and starts_at > now()

-- name: between
-- read only: those that start from $1 to before $2, in the order of their beginnings, behind ($3, $4), with whether one is the mirror of an app's own.
select a.id, a.starts_at, a.contact_id, a.location_id,
       a.ghl_appointment_id is not null and exists (
         select from crm.links l where l.kind = 'appointment' and l.theirs = a.ghl_appointment_id and l.ours <> a.id::text) is_mirror
from crm.appointments a
where a.starts_at >= $1 and a.starts_at < $2 and ($3::timestamptz is null or (a.starts_at, a.id) > ($3, $4::uuid))
order by a.starts_at, a.id limit $5

-- name: count_between
-- read only: how many start from $1 to before $2.
select count(*)::int from crm.appointments where starts_at >= $1 and starts_at < $2

-- name: statuses_of_contact
-- read only: the statuses that the contact's appointments have.
select distinct status from crm.appointments where contact_id = $1

-- name: latest_of_contact
-- read only: the contact's appointment that changed last.
select id, status from crm.appointments where contact_id = $1 order by updated_at desc, id limit 1
