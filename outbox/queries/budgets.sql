-- name: look
-- read only: the bucket of a credential, and which version of it this is.
select tokens, at, clock_timestamp() as now, paused_until, xmin::text as version,
       case when day = (now() at time zone 'UTC')::date then used else 0 end used,
       case when day = (now() at time zone 'UTC')::date then daily_left end daily_left
from outbox.budgets where credential = $1

-- name: make
-- a bucket that is full, on first use.
insert into outbox.budgets (credential, tokens, burst, per_s) values ($1, $2::int, $2::int, $3) on conflict do nothing

-- name: save
-- the bucket as the caller computed it, if it still is version $5; zero rows: another was faster. What was left of another day says nothing of this one.
update outbox.budgets
set tokens = $2, at = $3, used = $4, day = (now() at time zone 'UTC')::date,
    daily_left = case when day = (now() at time zone 'UTC')::date then daily_left end, burst = $6, per_s = $7
where credential = $1 and xmin::text = $5
returning credential

-- name: learn
-- what the far side's headers said: rest for $2 seconds (0: go on), and calls left today (NULL: not said).
insert into outbox.budgets as b (credential, tokens, paused_until, daily_left)
values ($1, 0, clock_timestamp() + $2 * interval '1 s', $3)
on conflict (credential) do update
set paused_until = greatest(b.paused_until, clock_timestamp() + $2 * interval '1 s'), day = excluded.day,
    used = case when b.day = excluded.day then b.used else 0 end,
    daily_left = coalesce($3, case when b.day = excluded.day then b.daily_left end)

-- name: all
-- read only: every bucket, with the calls of today and how much of its burst is taken now, as the refill has it; of single users, of whom there may be thousands, only those that rest.
select credential, tokens, extract(epoch from paused_until - clock_timestamp())::float8 paused_s,
       case when is_today then used else 0 end used, case when is_today then daily_left end daily_left, burst, per_s,
       coalesce(ceil(greatest(0, least(burst, burst - tokens - per_s * greatest(0, extract(epoch from clock_timestamp() - at)::float8))))::int, 0) taken
from outbox.budgets cross join lateral (select day = (now() at time zone 'UTC')::date is_today) t
where credential not like 'google:%' or paused_until > clock_timestamp() order by credential
