-- name: attention
-- read only: how much needs a person, each counted to 1,000: groups of dead letters, named lanes whose heads were accepted over 15 minutes ago
-- and wait though their destination flows, destinations that do not, and handshakes to promote.
select (select count(*)::int from (select distinct fingerprint from outbox.dead limit 1000) d) dead,
       (select count(*)::int from (select from outbox.busy b join outbox.events e on e.id = b.event_id
          where b.owner is null and b.due_at < 'infinity' and b.lane <> b.event_id and e.staged_at < now() - interval '15 min' limit 1000) held) lanes,
       (select count(*)::int from outbox.destinations where state <> 'flowing')
         + (select count(*)::int from outbox.handshakes where promoted_at is null) connections

-- name: any_event
-- read only: has anything ever been staged?
select exists (select from outbox.events)
