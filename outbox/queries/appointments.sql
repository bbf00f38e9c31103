-- name: create
-- a new appointment; the caller stages its event in the same transaction.
insert into crm.appointments (status, starts_at, ends_at, contact_id, title, notes)
values ($1, $2, $3, $4, $5, $6) returning id, status, starts_at, ends_at, contact_id, title, notes, created_at, updated_at

-- name: create_once
-- under an id that the caller derived from an idempotency key; zero rows: there is one already.
insert into crm.appointments (id, status, starts_at, ends_at, contact_id, title, notes) values ($1, $2, $3, $4, $5, $6, $7)
on conflict (id) do nothing returning id, status, starts_at, ends_at, contact_id, title, notes, created_at, updated_at

-- name: lock
-- the appointment as it is, locked until the caller's transaction ends.
select id, status, starts_at, ends_at, contact_id, title, notes, created_at, updated_at from crm.appointments where id = $1 for update

-- name: change
-- the appointment's new state; the caller holds the lock and has checked the transition.
update crm.appointments set status = $2, starts_at = $3, ends_at = $4, contact_id = $5, title = $6, notes = $7, updated_at = now()
where id = $1 returning id, status, starts_at, ends_at, contact_id, title, notes, created_at, updated_at

-- name: one
-- read only: an appointment.
select id, status, starts_at, ends_at, contact_id, title, notes, created_at, updated_at from crm.appointments where id = $1

-- name: list
-- read only: newest first, at most $3; NULL filters do not filter.
select id, status, starts_at, ends_at, contact_id, title, notes, created_at, updated_at from crm.appointments
where ($1::text is null or status = $1) and ($2::text is null or contact_id = $2)
  and ($4::timestamptz is null or created_at < $4) order by created_at desc, id limit $3

-- name: next_of_contact
-- read only: when the contact's next appointment that still stands starts.
select min(starts_at) from crm.appointments where contact_id = $1 and status in ('scheduled', 'confirmed') and starts_at > now()
