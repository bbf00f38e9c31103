-- name: write
-- one act, never changed again.
insert into outbox.audit (who, via, what, target, reason, result) values ($1, $2, $3, $4, $5, $6::jsonb) returning id

-- name: list
-- read only: newest first, below id $1, at most $2; NULL filters do not filter. $5 and $6 are beginnings.
select id, at, who, via, what, target, reason, result from outbox.audit
where ($1::bigint is null or id < $1) and ($3::text is null or who = $3) and ($4::text is null or via = $4)
  and ($5::text is null or starts_with(what, $5)) and ($6::text is null or starts_with(target, $6))
  and ($7::timestamptz is null or at >= $7) and ($8::timestamptz is null or at < $8)
order by id desc limit $2
