-- name: tell
-- what a dispatcher that begins does with each kind; nothing is written when it is known so.
insert into outbox.routes as r (kind, handler, destination, deadline_s, retries, schedule_s, covers, lacks)
select kind, handler, destination, deadline_s, retries, schedule::double precision[], covers, lacks
from unnest($1::text[], $2::text[], $3::text[], $4::double precision[], $5::text[], $6::text[], $7::text[], $8::text[])
  t(kind, handler, destination, deadline_s, retries, schedule, covers, lacks)
order by kind
on conflict (kind) do update
set handler = excluded.handler, destination = excluded.destination, deadline_s = excluded.deadline_s, retries = excluded.retries,
    schedule_s = excluded.schedule_s, covers = excluded.covers, lacks = excluded.lacks, told_at = now()
where (r.handler, r.destination, r.deadline_s, r.retries, r.schedule_s, r.covers, r.lacks) is distinct from
  (excluded.handler, excluded.destination, excluded.deadline_s, excluded.retries, excluded.schedule_s, excluded.covers, excluded.lacks)

-- name: forget
-- kinds that have no route any more.
delete from outbox.routes where kind <> all ($1::text[])

-- name: all
-- read only: every route.
select kind, handler, destination, deadline_s, retries, schedule_s, covers, told_at, lacks from outbox.routes order by kind
