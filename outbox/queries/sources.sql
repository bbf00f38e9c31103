-- name: count
-- adds what one receiver saw since it last said; NULL keeps what was there.
insert into outbox.sources as s (name, accepted, duplicates, rejected, last_accepted_at, last_rejected_at, last_rejected, last_fingerprint)
select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[])
  t(name, accepted, duplicates, rejected, accepted_at, rejected_at, reason, fingerprint) order by name
on conflict (name) do update
set accepted = s.accepted + excluded.accepted, duplicates = s.duplicates + excluded.duplicates, rejected = s.rejected + excluded.rejected,
    last_accepted_at = greatest(s.last_accepted_at, excluded.last_accepted_at), last_rejected_at = greatest(s.last_rejected_at, excluded.last_rejected_at),
    last_rejected = coalesce(excluded.last_rejected, s.last_rejected), last_fingerprint = coalesce(excluded.last_fingerprint, s.last_fingerprint)

-- name: all
-- read only: every source that ever sent.
select name, accepted, duplicates, rejected, last_accepted_at, last_rejected_at, last_rejected, last_fingerprint from outbox.sources order by name

-- name: one
-- read only: one source.
select name, accepted, duplicates, rejected, last_accepted_at, last_rejected_at, last_rejected, last_fingerprint from outbox.sources where name = $1
