-- name: things
-- read only: the lanes of what crm knows under $1: an id at any side, an e-mail address, or ($2: its last nine digits) a phone number; at most $3.
with people as materialized (
  select ghl_contact_id id from crm.contacts
  where ghl_contact_id = $1 or lower(email) = lower($1) or ($2::text is not null and right(regexp_replace(phone, '\D', '', 'g'), 9) = $2) limit $3),
booked as materialized (
  select a.id::text ours, a.ghl_appointment_id theirs from crm.appointments a
  where a.id::text = lower($1) or a.ghl_appointment_id = $1 or a.contact_id in (select id from people) order by a.created_at desc limit $3),
linked as materialized (select kind, ours, theirs, destination from crm.links where ours = $1 or theirs = $1 limit $3),
salon as materialized (select kind, id from crm.phorest_records where id = $1 limit $3)
select what, lane from (
  select 'contact' what, 'ghl:contact:' || id lane from people
  union select 'contact', 'contact:' || id from people
  union select 'appointment', 'appointment:' || ours from booked
  union select 'appointment', 'ghl:appointment:' || theirs from booked where theirs is not null
  union select 'page', 'notion:page:' || notion_page_id from crm.clients where notion_page_id::text = lower($1) or lower(contact_email) = lower($1)
  union select 'phorest-' || kind, 'phorest:' || kind || ':' || id from salon
  union select kind, replace(kind, 'phorest-', 'phorest:') || ':' || ours from linked
  union select kind, case when kind in ('phorest-client', 'phorest-staff') then 'ghl:contact:' || theirs
                          when kind = 'phorest-appointment' then 'ghl:appointment:' || theirs
                          when kind not like 'phorest-%' then destination || ':' || kind || ':' || theirs end from linked) x
where lane is not null
order by what, lane limit $3

-- name: shown
-- read only: what the events of these ids are, and since when.
select e.id, e.kind, s.mark, e.staged_at from outbox.states($1) s
cross join lateral (select id, kind, staged_at from outbox.events e where e.id = s.event_id offset 0) e

-- name: staged_at
-- read only: when an event was staged.
select staged_at from outbox.events where id = $1

-- name: turned_away
-- read only: requests that were rejected between $1 and $2, by source and reason, the most first.
select source, reason, count(*)::int requests, max(at) last_at from outbox.rejected where at >= $1 and at < $2 group by source, reason
order by 3 desc limit 20

-- name: thing
-- read only: what lane $1 is about, $2 being the contact that a payload names: the GHL contact and its location, the page's address, and
-- the lanes in which the same thing has its other id.
with named as (select substring($1 from '^(?:ghl:)?contact:(.+)$') contact, substring($1 from '^appointment:(.+)$') ours,
                      substring($1 from '^ghl:appointment:(.+)$') theirs, substring($1 from '^notion:page:([0-9a-f-]{36})$') page,
                      substring($1 from '^phorest:([a-z]+):') kind, substring($1 from '^phorest:[a-z]+:(.+)$') phorest),
brought as (  -- what Phorest's record is at GHL, and the client that it is about
  select l.theirs, coalesce(r.client_id, case when n.kind = 'client' then n.phorest end) client from named n
  left join crm.phorest_records r on r.kind = n.kind and r.id = n.phorest
  left join crm.links l on l.kind = 'phorest-' || n.kind and l.ours = n.phorest),
booked as (
  select a.id::text ours, a.ghl_appointment_id theirs, a.contact_id, a.location_id from named n cross join brought w join crm.appointments a
  on a.ghl_appointment_id = coalesce(n.theirs, case when n.kind = 'appointment' then w.theirs end)
     or a.id = case when n.ours ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then n.ours::uuid end limit 1),
linked as (
  select kind || ':' || ours ours, destination || ':' || kind || ':' || theirs theirs from crm.links
  where kind = split_part($1, ':', 1) and ours = substr($1, length(kind) + 2) limit 1),
person as (
  select coalesce(n.contact, b.contact_id, case when n.kind in ('client', 'staff') then w.theirs else c.theirs end, $2) id, b.location_id
  from named n cross join brought w left join booked b on true left join crm.links c on c.kind = 'phorest-client' and c.ours = w.client)
select p.id contact_id, coalesce(c.location_id, p.location_id) location_id,
       (select url from crm.clients w join named n on w.notion_page_id = n.page::uuid) page_url,
       array(select lane from (select 'contact:' || n.contact lane from named n union select 'ghl:contact:' || n.contact from named n
             union select 'ghl:contact:' || p.id from named n where n.kind in ('client', 'staff')
             union select 'appointment:' || ours from booked union select 'ghl:appointment:' || theirs from booked
             union select replace(l.kind, 'phorest-', 'phorest:') || ':' || l.ours from named n cross join crm.links l
                   where l.kind in ('phorest-client', 'phorest-staff') and l.destination = 'ghl' and l.theirs = n.contact and not l.shared
             union select 'phorest:appointment:' || l.ours from named n left join booked b on true join crm.links l
                   on l.kind = 'phorest-appointment' and l.destination = 'ghl' and l.theirs = coalesce(b.theirs, n.theirs) and not l.shared
             union select theirs from linked) x where lane is not null and lane <> $1 order by lane) others
from person p left join crm.contacts c on c.ghl_contact_id = p.id
