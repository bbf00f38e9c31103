-- name: ask
-- nobody had asked for this client -> asked; zero rows: somebody has.
insert into crm.phorest_repairs (client_id) values ($1) on conflict do nothing returning client_id

-- name: staged
-- asked -> the event that repairs is known; also for another one after the first came to nothing.
update crm.phorest_repairs set event_id = $2, refused = null, asked_at = now() where client_id = $1

-- name: look
-- read only: it waits for nobody. What was asked for a client, and the state of the event that repairs, as of one moment.
select p.event_id, p.refused, s.state
from (select event_id, refused from crm.phorest_repairs where client_id = $1) p left join lateral outbox.states(array[p.event_id]) s on true

-- name: lock
-- what was asked for a client, locked until the caller's transaction ends.
select event_id, refused from crm.phorest_repairs where client_id = $1 for update

-- name: state
-- read only: of the event that repairs; a statement of its own, for one that waited for the lock sees what there was before it waited.
select state from outbox.states(array[$1::bigint])

-- name: refuse
-- under way, or never asked for -> it cannot be in GHL.
insert into crm.phorest_repairs (client_id, refused) values ($1, $2) on conflict (client_id) do update set refused = excluded.refused

-- name: done
-- the client is in GHL: nothing is left to repair.
delete from crm.phorest_repairs where client_id = $1
