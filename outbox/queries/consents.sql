-- name: begin
-- a consent under way, for $6 seconds; those that ran out are forgotten.
with old as (delete from outbox.consents where expires_at < now())
insert into outbox.consents (state_digest, provider, redirect_uri, label, made_by, expires_at, account, verifier)
values ($1, $2, $3, $4, $5, now() + $6 * interval '1 s', $7, $8)

-- name: end
-- used once: whoever brings its state back in time takes it away.
delete from outbox.consents where state_digest = $1 and provider = $2 and expires_at >= now() returning redirect_uri, label, made_by, account, verifier
