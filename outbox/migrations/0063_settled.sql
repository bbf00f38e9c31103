-- works with code from 0001
-- Which of many events are settled, found in one pass: replays are sent by the hundred thousand.

create function outbox.settled(ids bigint[]) returns table (event_id bigint, lane bigint, attempt int, outcome "char")
language sql stable set enable_seqscan = off as $$
  with rest as materialized (
    select e.id, e.lane from (
      select e.id, outbox.lane_of(e.lane, e.id) lane from unnest(ids) i(id) cross join lateral (
        select e.id, e.lane from outbox.events e where e.id = i.id offset 0) e) e
    left join lateral (select d.event_id from outbox.dead d where d.event_id = e.id limit 1) d on true
    left join lateral (select b.event_id from outbox.busy b where b.lane = e.lane and b.event_id = e.id limit 1) b on true
    left join lateral (
      select p.event_id from outbox.pending p where p.urgency in (0, 1) and p.lane = e.lane and p.event_id = e.id limit 1) p on true
    left join lateral (select y.event_id from outbox.delayed y where y.event_id = e.id limit 1) y on true
    where coalesce(d.event_id, b.event_id, p.event_id, y.event_id) is null),
  stretches as materialized (                      -- to read what lies between costs less than to look again
    select min(id) low, max(id) high from (
      select id, count(*) filter (where gap > 5000) over (order by id) stretch from (
        select id, id - lag(id) over (order by id) gap from rest) g) s group by stretch),
  last as materialized (                           -- by attempt, not by time: workers' clocks may differ
    select distinct on (a.event_id) a.event_id, a.attempt, a.outcome from stretches s cross join lateral (
      select a.event_id, a.attempt, a.outcome from outbox.attempts a
      where a.event_id >= s.low and a.event_id <= s.high and (a.event_id in (select id from rest)) is true offset 0) a
    order by a.event_id, a.attempt desc, a.outcome in ('d', 's') desc)
  select l.event_id, outbox.lane_of(e.lane, e.id), l.attempt, l.outcome from last l   -- by key: of two such lists a join may compare all with all
  cross join lateral (select e.id, e.lane from outbox.events e where e.id = l.event_id offset 0) e where l.outcome in ('d', 's')
$$;
revoke execute on function outbox.settled from public;
