-- name: things
-- read only: the lanes of what crm knows under $1: an id at any side, an e-mail address, or ($2: its last nine digits) a phone number; at most $3.
with people as materialized (
  select ghl_contact_id id from crm.contacts
  where ghl_contact_id = $1 or lower(email) = lower($1) or ($2::text is not null and right(regexp_replace(phone, '\D', '', 'g'), 9) = $2) limit $3),
booked as materialized (
  select a.id::text ours, a.ghl_appointment_id theirs from crm.appointments a
  where a.id::text = lower($1) or a.ghl_appointment_id = $1 or a.contact_id in (select id from people) order by a.created_at desc limit $3),
linked as materialized (select kind, ours, theirs, destination from crm.links where ours = $1 or theirs = $1 limit $3)
select what, lane from (
  select 'contact' what, 'ghl:contact:' || id lane from people
  union select 'contact', 'contact:' || id from people
  union select 'appointment', 'appointment:' || ours from booked
  union select 'appointment', 'ghl:appointment:' || theirs from booked where theirs is not null
  union select 'page', 'notion:page:' || notion_page_id from crm.clients where notion_page_id::text = lower($1) or lower(contact_email) = lower($1)
  union select kind, kind || ':' || ours from linked
  union select kind, destination || ':' || kind || ':' || theirs from linked) x
order by what, lane limit $3

-- name: turned_away
-- read only: requests that were rejected between $1 and $2, by source and reason, the most first.
select source, reason, count(*)::int requests, max(at) last_at from outbox.rejected where at >= $1 and at < $2 group by source, reason
order by 3 desc limit 20
