-- name: ask
-- nobody had asked for this client -> asked; zero rows: somebody has.
insert into crm.phorest_repairs (client_id) values ($1) on conflict do nothing returning client_id

-- name: staged
-- asked -> the event that repairs is known; also for another one after the first came to nothing.
update crm.phorest_repairs set event_id = $2, refused = null, asked_at = now() where client_id = $1

-- name: one
-- what was asked for a client, locked until the caller's transaction ends; state: of the event that repairs.
select p.client_id, p.event_id, p.refused, s.state, s.why
from (select * from crm.phorest_repairs where client_id = $1 for update) p left join lateral outbox.states(array[p.event_id]) s on true

-- name: refuse
-- under way, or never asked for -> it cannot be in GHL.
insert into crm.phorest_repairs (client_id, refused) values ($1, $2) on conflict (client_id) do update set refused = excluded.refused

-- name: done
-- the client is in GHL: nothing is left to repair.
delete from crm.phorest_repairs where client_id = $1
