-- name: fitting
-- read only: of candidates $1, or of the newest $4 below id $2 and not below $3 when there are none, those that fit; newest first.
-- $13: the oldest of them instead, oldest first. The states of the first $14 are asked for at once, which costs a fifth, or of all one by
-- one until $12 are found ($14 is NULL). $15: with so many attempts at least. The last row (its id is NULL) says how many were looked at, as
-- far as which id, and how many of them fit before their states were asked for.
with looked as materialized (
  (select e.id, ($5::text[] is null or e.source = any ($5)) and ($6::text[] is null or e.kind = any ($6)) and ($7::text is null or e.lane = $7)
            and ($8::text is null or e.key = $8) and ($9::bytea is null or position($9 in e.payload) > 0) fits
   from outbox.events e where $1::bigint[] is null and not $13 and e.id < $2 and e.id >= $3 order by e.id desc limit $4)
  union all
  (select e.id, ($5::text[] is null or e.source = any ($5)) and ($6::text[] is null or e.kind = any ($6)) and ($7::text is null or e.lane = $7)
            and ($8::text is null or e.key = $8) and ($9::bytea is null or position($9 in e.payload) > 0) fits
   from outbox.events e where $1::bigint[] is null and $13 and e.id < $2 and e.id >= $3 order by e.id limit $4)
  union all
  select c.id, e.fits from unnest($1) c(id) cross join lateral (
    select ($5::text[] is null or e.source = any ($5)) and ($6::text[] is null or e.kind = any ($6)) and ($7::text is null or e.lane = $7)
       and ($8::text is null or e.key = $8) and ($9::bytea is null or position($9 in e.payload) > 0) fits
    from outbox.events e where e.id = c.id offset 0) e
  where c.id < $2 and c.id >= $3),
found as (
  (select s.event_id id, s.state, s.why, s.until, s.attempts, s.changed_at, s.mark
   from outbox.states(array(select id from looked where fits and $14::int is not null order by case when $13 then -id else id end desc limit $14)) s
   where ($10::text[] is null or s.state = any ($10)) and ($11::text[] is null or s.mark = any ($11))
     and ($15::int is null or s.attempts >= $15)
   order by case when $13 then -s.event_id else s.event_id end desc limit $12)
  union all
  (select p.id, s.state, s.why, s.until, s.attempts, s.changed_at, s.mark
  from (select id from looked where fits and $14::int is null order by case when $13 then -id else id end desc) p
  cross join lateral (select s.* from outbox.states(array[p.id]) s
                      where ($10::text[] is null or s.state = any ($10)) and ($11::text[] is null or s.mark = any ($11))
                        and ($15::int is null or s.attempts >= $15) offset 0) s
  limit $12))
select * from (
  select f.id, e.staged_at, e.source, e.kind, e.key, e.lane, f.state, f.why, f.until, f.attempts, f.changed_at, f.mark,
         null::int looked, null::bigint lowest, null::int fitting
  from found f cross join lateral (select staged_at, source, kind, key, lane from outbox.events e where e.id = f.id offset 0) e
  union all
  select null, null, null, null, null, null, null, null, null, null, null, null,
         count(*)::int, case when $13 then max(id) else min(id) end, (count(*) filter (where fits))::int from looked) x
order by case when $13 then -id else id end desc nulls last

-- name: settled
-- read only: of the newest $3 events below id $1 and not below $2 those that fit (sources $4, kinds $5, bytes of the payload $6, attempts $8) and are
-- in one of the settled states $7 (d done, s skipped), newest first; how many were looked at, back to which id. As outbox.states() judges, for
-- all at once: what a person replays is a hundred thousand.
with looked as materialized (
  select e.id, outbox.lane_of(e.lane, e.id) lane, ($4::text[] is null or e.source = any ($4)) and ($5::text[] is null or e.kind = any ($5))
         and ($6::bytea is null or position($6 in e.payload) > 0) fits
  from outbox.events e where e.id < $1 and e.id >= $2 order by e.id desc limit $3),
span as materialized (select min(id) low, max(id) high, count(*)::int n from looked),
ends as materialized (
  select a.event_id, (array_agg(a.outcome order by a.attempt desc, a.outcome in ('d', 's') desc))[1] outcome,
         count(*) filter (where a.outcome <> 'p' and a.owner <> 0) runs
  from outbox.attempts a where a.event_id >= (select low from span) and a.event_id <= (select high from span) group by a.event_id)
select array(
         select l.id from looked l join ends x on x.event_id = l.id
         where l.fits and x.outcome::text = any ($7) and ($8::int is null or x.runs >= $8)
           and not exists (select from outbox.dead d where d.event_id = l.id)
           and not exists (select from outbox.busy b where b.lane = l.lane and b.event_id = l.id)
           and not exists (select from outbox.pending p where p.urgency in (0, 1) and p.lane = l.lane and p.event_id = l.id)
           and not exists (select from outbox.delayed y where y.event_id = l.id)
         order by l.id desc) ids, span.n looked, span.low lowest
from span

-- name: in_lane
-- read only: the newest $4 ids of a lane below id $2 and not below $3.
select outbox.in_lane($1, $2, $3, $4) id

-- name: with_key
-- read only: the ids that sources $1 have under key $2, by digest.
select k.event_id id from unnest($1::text[]) s(source) join outbox.keys k on k.digest = outbox.digest(s.source, $2)

-- name: is_short
-- read only: whether few events wait their turn, so that all of them can be looked at.
select count(*) <= $1 from (select from outbox.pending where attempt >= 0 limit $1 + 1) p

-- name: candidates
-- read only: ids below $1 and not below $2 that may be dead ($4; of group $5, if it is given), pending ($6) or ended with one of $7, after $10
-- attempts at least; newest first ($9: oldest first), at most $3. What waits its turn is looked for everywhere if it is short ($8), else, like
-- what has ended, among the newest $3: then lowest says back to which id, if there are more.
with looked as materialized (
  (select e.id, e.lane from outbox.events e where not $9 and e.id < $1 and e.id >= $2 and ($7::text[] is not null or ($6 and not $8)) order by e.id desc limit $3)
  union all
  (select e.id, e.lane from outbox.events e where $9 and e.id < $1 and e.id >= $2 and ($7::text[] is not null or ($6 and not $8)) order by e.id limit $3)),
span as materialized (select min(id) low, max(id) high, count(*) n from looked),
found as (
  select event_id id from outbox.dead where $4 and event_id < $1 and event_id >= $2 and ($5::text is null or fingerprint = $5)
    and ($10::int is null or attempt >= $10)
  union all
  select event_id from outbox.busy where $6 and event_id < $1 and event_id >= $2 and ($10::int is null or attempt >= $10)
  union all
  select event_id from outbox.delayed where $6 and event_id < $1 and event_id >= $2 and ($10::int is null or attempt >= $10)
  union all
  select event_id from outbox.pending where $6 and $8 and event_id < $1 and event_id >= $2 and ($10::int is null or attempt >= $10)
  union all
  select l.id from looked l cross join lateral (
    select from outbox.pending p where p.urgency in (0, 1) and p.lane = outbox.lane_of(l.lane, l.id) and p.event_id = l.id
      and ($10::int is null or p.attempt >= $10) limit 1) p
  where $6 and not $8
  union all
  select distinct a.event_id from outbox.attempts a
  where $7::text[] is not null and a.event_id >= (select low from span) and a.event_id <= (select high from span) and a.outcome::text = any ($7)
    and ($10::int is null or a.attempt >= $10))
select array(select id from found group by id order by case when $9 then -id else id end desc limit $3) ids,
       case when span.n >= $3 then case when $9 then span.high else span.low end end lowest from span

-- name: newer
-- read only: how many events there are above id $1, at most $2.
select count(*)::int from (select from outbox.events where id > $1 limit $2) e

-- name: first_since
-- read only: the id from which events were staged at $1 or later; ids ascend with time, so it is halved for. NULL: there are no events.
with recursive s as (
  select (select min(id) from outbox.events) lo, (select max(id) + 1 from outbox.events) hi, 0 n
  union all
  select case when x.staged_at < $1 then x.id + 1 else s.lo end, case when x.staged_at < $1 then s.hi else m.mid end, n + 1
  from s cross join lateral (select s.lo + (s.hi - s.lo) / 2 mid) m
  cross join lateral (select e.id, e.staged_at from outbox.events e where e.id >= m.mid order by e.id limit 1) x
  where s.lo < s.hi)
select lo from s order by n desc limit 1
