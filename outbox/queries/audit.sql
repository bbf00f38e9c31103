-- name: write
-- one act, never changed again.
insert into outbox.audit (who, via, what, target, reason, result) values ($1, $2, $3, $4, $5, $6::jsonb) returning id

-- name: list
-- read only: newest first, below id $1, at most $2.
select id, at, who, via, what, target, reason, result from outbox.audit where ($1::bigint is null or id < $1) order by id desc limit $2
