-- name: begin
-- signed in: for $5 seconds from now, and from each visit on.
insert into outbox.sessions (digest, token, name, network, until) values ($1, $2, $3, $4, now() + $5 * interval '1 s') returning started_at

-- name: find
-- a session that has not ended, and the database's clock; slides its end to $2 seconds from now, at most once a minute (NULL: it stays).
with slid as (update outbox.sessions set seen_at = now(), until = now() + $2::float8 * interval '1 s'
              where digest = $1 and until > now() and seen_at < now() - interval '1 min' and $2::float8 is not null)
select token, name, started_at, notice, now() now from outbox.sessions where digest = $1 and until > now()

-- name: tell
-- what the last act has to say; NULL: dismissed.
update outbox.sessions set notice = $2::jsonb where digest = $1 returning digest

-- name: end
-- signed out.
delete from outbox.sessions where digest = $1 returning name

-- name: prune
-- forgets what has ended: sessions, links, and forms of over a day ago.
with sessions as (delete from outbox.sessions where until <= now()), links as (delete from outbox.sign_in_links where until <= now())
delete from outbox.sent_forms where at < now() - interval '1 day'

-- name: offer_link
-- a link that signs in once, within $3 seconds.
insert into outbox.sign_in_links (digest, token, until) values ($1, $2, now() + $3 * interval '1 s') returning until

-- name: take_link
-- unused -> gone; zero rows: it was used, or its time is over.
delete from outbox.sign_in_links where digest = $1 and until > now() returning token

-- name: send_form
-- a form acts once; zero rows: it was sent before.
insert into outbox.sent_forms (id) values ($1) on conflict do nothing returning id

-- name: unsend_form
-- what a form asked for was refused: it may be sent again.
delete from outbox.sent_forms where id = $1
