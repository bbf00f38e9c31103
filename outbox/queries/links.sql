-- name: free
-- their id was another's of ours until now; the caller puts the new link in the same transaction.
delete from crm.links where destination = $1 and kind = $2 and theirs = $3 and ours <> $4

-- name: put
-- our id is theirs at that destination; a link that there is already is replaced.
insert into crm.links (kind, ours, theirs, destination) values ($1, $2, $3, $4)
on conflict (kind, ours) do update set theirs = excluded.theirs, destination = excluded.destination

-- name: theirs
-- read only: the other id of what we call $2, and where.
select theirs, destination from crm.links where kind = $1 and ours = $2

-- name: ours
-- read only: what we call the thing whose id is $3 at $1.
select ours from crm.links where destination = $1 and kind = $2 and theirs = $3

-- name: forget
-- the two are no longer the same thing; zero rows: nothing was linked.
delete from crm.links where kind = $1 and ours = $2 returning theirs
