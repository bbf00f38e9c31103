-- name: lock_theirs
-- the row of an appointment of GHL's, locked until the caller's transaction ends.
select id, status, resource, content_hash, changed_at, echo_of from crm.appointments where ghl_appointment_id = $1 for update

-- name: receive
-- an appointment of GHL's that is new to us; zero rows: somebody else has just made it.
insert into crm.appointments (ghl_appointment_id, status, starts_at, ends_at, resource, contact_id, title, notes, location_id, calendar_id, ghl_status, content_hash, changed_at)
values ($1, $2, $3, $4, $5, $6, coalesce($7, 'Appointment'), $8, $9, $10, $11, $12, $13)
on conflict (ghl_appointment_id) do nothing returning id, status

-- name: apply
-- a newer state of GHL's, NULL where GHL says nothing; the caller holds the lock. A status that its life does not allow stays. No longer an echo.
update crm.appointments set status = case when crm.may_become(status, $2) then $2 else status end, starts_at = $3, ends_at = $4, resource = $5,
  contact_id = coalesce($6, contact_id), title = coalesce($7, title), notes = coalesce($8, notes),
  location_id = coalesce($9, location_id), calendar_id = coalesce($10, calendar_id),
  ghl_status = $11, content_hash = $12, changed_at = $13, echo_of = null, updated_at = now()
where id = $1 returning id, status

-- name: lock_known
-- what we know of GHL's side of a row of ours, locked until the caller's transaction ends.
select id, created_at, changed_at from crm.appointments where id = $1 for update

-- name: drop_twin
-- the row that a webhook made of an appointment which is $2's, made at $3: it came before the answer to our own booking. Never one of ours.
delete from crm.appointments where ghl_appointment_id = $1 and id <> $2 and created_at > $3 and echo_of is null
returning status, ghl_status, starts_at, ends_at, changed_at, location_id, calendar_id, contact_id, title, notes

-- name: answered
-- what GHL shows after our own write (event $7): it is known, and an echo when it comes back. What is ours to say stays as it is.
update crm.appointments set ghl_appointment_id = $2, ghl_status = $3, content_hash = $4, changed_at = $5,
  location_id = coalesce(location_id, $6), calendar_id = coalesce(calendar_id, $8), echo_of = $7
where id = $1 returning id

-- name: gone
-- deleted in GHL -> cancelled, if its life allows that; zero rows: GHL never showed it to us.
update crm.appointments set status = case when crm.may_become(status, 'cancelled') then 'cancelled' else status end,
  ghl_status = 'deleted', content_hash = null, echo_of = null, updated_at = now()
where ghl_appointment_id = $1 returning id, status
