-- name: lock
-- one dispatcher at a time looks for what has changed.
select pg_try_advisory_xact_lock(7311, 5)

-- name: all
-- read only: what people were last told, with how long it has looked as it does.
select name, state, since, seen, detail, extract(epoch from now() - seen_at)::float8 seen_s from outbox.alerts order by name

-- name: see
-- notes down how something looks now; its clock starts anew when that is another state than the one seen before.
insert into outbox.alerts as a (name, state, seen, detail) values ($1, $2, $3, $4)
on conflict (name) do update
set seen = excluded.seen, detail = excluded.detail, seen_at = case when a.seen = excluded.seen then a.seen_at else now() end

-- name: tell
-- what was seen is what people are told from now on.
update outbox.alerts set state = seen, since = now() where name = $1 returning since

-- name: forget
-- all is well there, and people know it.
delete from outbox.alerts where name = $1 and state = seen
