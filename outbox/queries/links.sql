-- name: free
-- their id was another's of ours until now; the caller puts the new link in the same transaction.
delete from crm.links where destination = $1 and kind = $2 and theirs = $3 and ours <> $4

-- name: put
-- our id is theirs at that destination; a link that there is already is replaced.
insert into crm.links (kind, ours, theirs, destination) values ($1, $2, $3, $4)
on conflict (kind, ours) do update set theirs = excluded.theirs, destination = excluded.destination

-- name: join
-- our id is theirs from now on, without taking theirs away from another of ours: then it is shared. What we made stays made by us.
insert into crm.links as l (kind, ours, theirs, destination, our_hash, their_hash, made, shared, event_id)
select $1, $2, $3, $4, $5, $6, $7, exists (select from crm.links o where o.destination = $4 and o.kind = $1 and o.theirs = $3 and o.ours <> $2 and not o.shared), $8
on conflict (kind, ours) do update
set theirs = excluded.theirs, destination = excluded.destination, our_hash = excluded.our_hash, their_hash = excluded.their_hash, event_id = excluded.event_id,
    made = excluded.made or (l.made and l.theirs = excluded.theirs), shared = excluded.shared
returning shared

-- name: taken
-- read only: another of ours whose own is theirs; NULL: nobody's.
select ours from crm.links where destination = $1 and kind = $2 and theirs = $3 and ours <> $4 and not shared limit 1

-- name: count_made
-- read only: how much of each kind we made over there.
select kind, count(*)::int n from crm.links where made and kind like $1 || '%' group by kind order by kind

-- name: theirs
-- read only: the other id of what we call $2, and where.
select theirs, destination from crm.links where kind = $1 and ours = $2

-- name: ours
-- read only: what we call the thing whose id is $3 at $1.
select ours from crm.links where destination = $1 and kind = $2 and theirs = $3

-- name: forget
-- the two are no longer the same thing; zero rows: nothing was linked.
delete from crm.links where kind = $1 and ours = $2 returning theirs

-- name: made_one
-- read only: what we made over there for one of ours.
select kind, ours, theirs, destination from crm.links where kind = $1 and ours = $2 and made
