-- name: made
-- read only: what we made over there, after (kind, ours), whose kind begins with $1, each with the key of its deletion.
select kind, ours, theirs, format('undo:%s:%s:%s', kind, ours, theirs) key from crm.links
where made and kind like $1 || '%' and (kind, ours) > ($2, $3) order by kind, ours limit $4

-- name: rest
-- read only: how much of it is still there, and of how much the deletion is to come, or dead. None of both: it was made meanwhile, or given up.
select count(*)::int "left", count(c.event_id)::int coming, count(d.event_id)::int dead
from crm.links l
left join outbox.keys k on k.digest = outbox.digest($2, format('undo:%s:%s:%s', l.kind, l.ours, l.theirs))
left join outbox.dead d on d.event_id = k.event_id
left join (select event_id from outbox.pending union all select event_id from outbox.busy union all select event_id from outbox.delayed) c
  on c.event_id = k.event_id
where l.made and l.kind like $1 || '%'
