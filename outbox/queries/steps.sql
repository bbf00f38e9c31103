-- name: journal
-- read only: what is known of an event's steps, oldest first.
select name, entry::text entry, attempt, answer, extract(epoch from clock_timestamp() - at)::float8 age_s from outbox.steps where event_id = $1 order by at

-- name: write
-- one entry, only while this owner holds this attempt ($1 lane, $2 event, $3 owner, $4 attempt); zero rows: the event was lost to another.
insert into outbox.steps (event_id, name, attempt, entry, took_ms, answer, note)
select b.event_id, $5, b.attempt, $6::text::"char", $7, $8::jsonb, $9
from (select event_id, attempt from outbox.busy where lane = $1 and event_id = $2 and owner = $3 and attempt = $4 for share) b
returning event_id
