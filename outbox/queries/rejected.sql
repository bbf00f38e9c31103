-- name: keep
-- requests that were turned away, for inspection.
insert into outbox.rejected (at, source, reason, detail, remote, body_bytes, body_head)
select * from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::bytea[])

-- name: list
-- read only: newest first, below id $2, at most $3; source $1 and reason $4, NULL: all.
select id, at, source, reason, detail, remote, body_bytes, body_head from outbox.rejected
where ($1::text is null or source = $1) and ($2::bigint is null or id < $2) and ($4::text is null or reason = $4) order by id desc limit $3

-- name: prune
-- P11: at most $1 a source, at most $2 days.
delete from outbox.rejected r using (
  select id, row_number() over (partition by source order by id desc) n, at from outbox.rejected) x
where r.id = x.id and (x.n > $1 or x.at < now() - $2 * interval '1 day')
