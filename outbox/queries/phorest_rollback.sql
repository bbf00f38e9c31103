-- name: made
-- read only: what we made over there, after (kind, ours), whose kind begins with $1, each with the key of its deletion.
select kind, ours, theirs, format('%s:%s:%s:%s', $5::text, kind, ours, theirs) key from crm.links
where made and kind like $1 || '%' and (kind, ours) > ($2, $3) order by kind, ours limit $4

-- name: rest
-- read only: how much of it is still there; of how much the deletion is to come, dead, or not asked for. None of these: it was given up.
select count(*)::int "left", count(c.event_id)::int coming, count(d.event_id)::int dead, count(*) filter (where k.event_id is null)::int fresh
from crm.links l
left join outbox.keys k on k.digest = outbox.digest($2, format('%s:%s:%s:%s', $3::text, l.kind, l.ours, l.theirs))
left join outbox.dead d on d.event_id = k.event_id
left join (select event_id from outbox.pending union all select event_id from outbox.busy union all select event_id from outbox.delayed) c
  on c.event_id = k.event_id
where l.made and l.kind like $1 || '%'

-- name: newest
-- read only: the rollback that was begun last, and how many were stopped by now.
select r.*, (select count(*)::int from crm.phorest_rollbacks where stopped_at is not null) stops from crm.phorest_rollbacks r order by id desc limit 1

-- name: begin
-- a rollback with so much to delete ($1); zero rows: one was begun whose deletions are not all staged, and that one goes on.
insert into crm.phorest_rollbacks (made, by_whom) values ($1, $2) on conflict do nothing returning id

-- name: staged
-- all deletions of the one that was begun last are staged.
update crm.phorest_rollbacks set staged_at = now() where staged_at is null and stopped_at is null

-- name: stop
-- the one that was begun last deletes nothing more; zero rows: it was stopped before, or there is none.
update crm.phorest_rollbacks set stopped_at = now(), stopped_by = $1
where id = (select max(id) from crm.phorest_rollbacks) and stopped_at is null returning id
