-- name: write
-- an operator's note on a group of dead letters, in place of the one before.
insert into outbox.notes (fingerprint, note, by_whom) values ($1, $2, $3)
on conflict (fingerprint) do update set note = excluded.note, by_whom = excluded.by_whom, at = now()

-- name: remove
-- a note that says nothing any more.
delete from outbox.notes where fingerprint = $1 returning fingerprint

-- name: some
-- read only: the notes on these groups.
select fingerprint, note, by_whom, at from outbox.notes where fingerprint = any ($1::text[])
