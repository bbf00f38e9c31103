-- name: offer
-- keeps a candidate token, the five newest of a source; the same token again is the same candidate.
with offered as (
  insert into outbox.handshakes (source, sealed, fingerprint, remote) values ($1, $2, $3, $4)
  on conflict (source, fingerprint) do update set at = case when handshakes.promoted_at is null then now() else handshakes.at end
  returning id, promoted_at),
pruned as (                                       -- the others as they were before, so the offered one is counted apart
  delete from outbox.handshakes where promoted_at is null and id in (
    select id from outbox.handshakes where source = $1 and promoted_at is null and id not in (select id from offered)
    order by at desc, id desc offset (select 5 - count(*) from offered where promoted_at is null)))
select id from offered

-- name: list
-- read only: newest first, without the secrets.
select id, source, fingerprint, at, remote, promoted_at, promoted_by from outbox.handshakes where source = $1 order by at desc

-- name: sealed
-- read only: one sealed token.
select sealed, fingerprint, promoted_at from outbox.handshakes where source = $1 and id = $2

-- name: promoted
-- read only: the sealed tokens in use, newest first.
select sealed, fingerprint from outbox.handshakes where source = $1 and promoted_at is not null order by promoted_at desc

-- name: promote
-- candidate -> in use, beside those that are; only a candidate.
update outbox.handshakes set promoted_at = now(), promoted_by = $3 where source = $1 and id = $2 and promoted_at is null returning fingerprint

-- name: retire
-- the tokens that were in use before $2.
delete from outbox.handshakes where source = $1 and promoted_at is not null and id <> $2 returning fingerprint
