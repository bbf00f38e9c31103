-- name: want
-- these kinds are taken by somebody who is here: written down at first, then renewed at most once an hour.
insert into outbox.wanted as w (kind) select unnest($1::text[]) on conflict (kind) do update set seen_at = now() where w.seen_at < now() - interval '1 hour'

-- name: forget
-- a week without anybody who takes it: it is staged no more.
delete from outbox.wanted where seen_at < now() - interval '7 days' returning kind

-- name: all
-- read only: what is wanted, and since when.
select kind, since, seen_at from outbox.wanted order by kind
