-- name: count
-- adds what one receiver saw since it last said; NULL keeps what was there. By quarter of an hour and outcome, by key, and in all.
with counted as (
  insert into outbox.source_counts as c (quarter, source, outcome, seen)
  select date_bin('15 min', now(), '2000-01-01Z'), * from unnest($9::text[], $10::text[], $11::bigint[]) t(source, outcome, seen) order by source, outcome
  on conflict (quarter, source, outcome) do update set seen = c.seen + excluded.seen),
keyed as (
  insert into outbox.source_keys as k (source, fingerprint, first_at, last_at)
  select source, fingerprint, at, at from unnest($12::text[], $13::text[], $14::timestamptz[]) t(source, fingerprint, at) order by source, fingerprint
  on conflict (source, fingerprint) do update set last_at = greatest(k.last_at, excluded.last_at))
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

-- name: day
-- read only: what came in, in the last 24 hours, by source and outcome; in the last hour of that, too.
select source, outcome, sum(seen)::int seen, coalesce(sum(seen) filter (where quarter > now() - interval '1 hour'), 0)::int last_hour
from outbox.source_counts where quarter > now() - interval '24 hours' group by 1, 2 order by 1, 3 desc, 2

-- name: keys
-- read only: which key of each source matched when.
select source, fingerprint, first_at, last_at from outbox.source_keys order by source, last_at desc

-- name: prune
-- forgets counts that are over $1 days old.
delete from outbox.source_counts where quarter < now() - $1::int * interval '1 day'

-- name: one
-- read only: one source.
select name, accepted, duplicates, rejected, last_accepted_at, last_rejected_at, last_rejected, last_fingerprint from outbox.sources where name = $1
