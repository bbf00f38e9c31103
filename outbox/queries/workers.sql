-- name: begin
-- a new incarnation of code of version $3; its id is never used again. $2 is the lease in seconds, $4 how many days its upkeep keeps.
insert into outbox.workers (name, until, version, keep_days) values ($1, now() + $2 * interval '1 s', $3, $4) returning id

-- name: renew
-- the lease, only of a worker that has not ended; zero rows: it was taken over.
update outbox.workers set until = now() + $2 * interval '1 s', renewed_at = now() where id = $1 and ended_at is null returning id

-- name: end
-- alive -> ended, once.
update outbox.workers set ended_at = now() where id = $1 and ended_at is null returning id

-- name: end_lapsed
-- workers whose lease ended, or lies absurdly far ahead because the clock stepped back.
update outbox.workers set ended_at = now()
where id in (select id from outbox.workers where ended_at is null and (until < now() or until > now() + interval '1 min') for update skip locked)
returning id, name

-- name: recently_ended
-- read only: has a worker ended in the last minute?
select exists (select from outbox.workers where ended_at > now() - interval '1 min')

-- name: terminate
-- ends the connections of a worker that is frozen while it holds locks. Another database of this server has workers of the same ids.
select count(pg_terminate_backend(pid))::int from pg_stat_activity
where datname = current_database() and application_name = 'postroom:' || $1::bigint and pid <> pg_backend_pid()

-- name: end_frozen
-- ends the processes' connections whose client left a transaction in the middle, because it was frozen or its line fell silent: what they
-- hold is seen by nobody. In the middle of a statement Postgres's own time limit for idle transactions does not count.
select application_name name, count(pg_terminate_backend(pid))::int connections from pg_stat_activity
where datname = current_database() and application_name ~ '^postroom:([0-9]+|lease|handlers|upkeep|intake|receiver|console)$' and pid <> pg_backend_pid()
  and wait_event in ('ClientRead', 'ClientWrite') and xact_start is not null and state_change < now() - $1::float8 * interval '1 s'
group by application_name

-- name: alive
-- read only: workers whose lease holds.
select id, name, version, started_at, renewed_at, keep_days, extract(epoch from until - now())::float8 lease_s,
       (select count(*)::int from outbox.busy b where b.owner = w.id) running
from outbox.workers w where ended_at is null and until > now() order by id

-- name: last
-- read only: who was there last, until when, and whether any is there now.
select name, coalesce(ended_at, until) until, ended_at is null and until > now() is_alive from outbox.workers
order by ended_at is null and until > now() desc, coalesce(ended_at, until) desc limit 1

-- name: prune
-- forgets workers that ended over a day ago, unless they still own something.
delete from outbox.workers w where ended_at < now() - interval '1 day' and not exists (select from outbox.busy b where b.owner = w.id)
