-- name: begin
-- an audit begins, or goes on after an interruption.
insert into crm.audits (id, system, started_at) values ($1, $2, $3) on conflict do nothing

-- name: end
-- under way -> ended, with what was counted; and those that are older than $3 days go.
with old as (delete from crm.audits where system = (select system from crm.audits where id = $1) and started_at < now() - $3 * interval '1 day' and id <> $1)
update crm.audits set ended_at = now(), counts = $2::jsonb where id = $1

-- name: gap
-- a gap, with the event that mends it; found again after an interruption, it stays as it is.
insert into crm.audit_gaps (audit_id, kind, id, gap, repair) values ($1, $2, $3, $4, $5) on conflict do nothing

-- name: known_gaps
-- read only: which of these were found by this audit already.
select id from crm.audit_gaps where audit_id = $1 and kind = $2 and gap = $3 and id = any ($4)

-- name: list
-- read only: audits, newest first, below id $2, with how many gaps of each sort they found.
select a.id, a.system, a.started_at, a.ended_at, a.counts,
       coalesce((select jsonb_object_agg(g.what, g.n) from (select kind || ' ' || gap what, count(*) n from crm.audit_gaps where audit_id = a.id group by kind, gap) g), '{}') gaps
from crm.audits a where ($1::text is null or a.system = $1) and ($2::bigint is null or a.id < $2) order by a.id desc limit $3

-- name: one
-- read only: an audit.
select id, system, started_at, ended_at, counts from crm.audits where id = $1

-- name: gaps
-- read only: what an audit found, behind (kind, id), with what became of the repair.
select g.kind, g.id, g.gap, g.repair, g.at, s.state repair_state, s.why repair_why
from crm.audit_gaps g left join lateral outbox.states(array[g.repair]) s on g.repair is not null
where g.audit_id = $1 and (g.kind, g.id) > ($2, $3) order by g.kind, g.id limit $4

-- name: met_records
-- read only but for the time: a walk over everything met these; what comes back is not here.
with met as (update crm.phorest_records set seen_at = now() where kind = $1 and id = any ($2) returning id)
select id from unnest($2::text[]) id except select id from met order by 1

-- name: met_links
-- a walk over the far side met these.
update crm.links set seen_at = now() where destination = $1 and kind = any ($2) and theirs = any ($3) returning ours

-- name: unmet_records
-- read only: what is here, was here before the walk began ($2), and was not met, behind id $3; of appointments only those on days from $5 to $6.
select id, branch_id from crm.phorest_records
where kind = $1 and not deleted and seen_at < $2 and created_at < $2 and id > $3
  and ($5::text is null or original ->> 'appointmentDate' between $5 and $6)
order by id limit $4

-- name: unmet_links
-- read only: what is linked since before $3 and was not met by the walk that began at $2, behind ours $4.
select ours, theirs from crm.links
where kind = $1 and created_at < $3 and coalesce(seen_at, '-infinity') < $2 and ours > $4 order by ours limit $5

-- name: unsent
-- read only: what is here and has no link, or another than it had when it was sent, behind id $3; what GHL would not take is no gap, nor is what audit $5 found already.
select r.id, l.ours is null never from crm.phorest_records r left join crm.links l on l.kind = 'phorest-' || r.kind and l.ours = r.id
where r.kind = $1 and r.imported_at < $2 and r.id > $3 and r.warning is null and r.merged_to is null
  and (l.ours is null and not r.deleted or l.our_hash <> r.content_hash and not l.shared)
  and not exists (select from crm.audit_gaps g where g.audit_id = $5 and g.kind = r.kind and g.id = r.id)
order by r.id limit $4

-- name: counts
-- read only: by kind, how much is here, is linked, and could not be sent.
select r.kind, (count(*) filter (where not r.deleted))::int here, count(l.ours)::int linked, count(r.warning)::int refused
from crm.phorest_records r left join crm.links l on l.kind = 'phorest-' || r.kind and l.ours = r.id group by r.kind order by r.kind

-- name: open_gaps
-- read only: of each system, how many gaps its newest finished audit found, and which it was.
select distinct on (a.system) a.system, a.id, (select count(*)::int from crm.audit_gaps g where g.audit_id = a.id) gaps
from crm.audits a where a.ended_at is not null order by a.system, a.id desc
