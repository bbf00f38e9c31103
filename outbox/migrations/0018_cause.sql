-- works with code from 0001
-- Why an event exists: what a run stages names the event that ran, whichever way it is staged.

-- The event whose run this transaction belongs to; NULL: none of ours.
create function outbox.cause() returns bigint language sql stable parallel safe
return nullif(current_setting('postroom.event', true), '')::bigint;
revoke execute on function outbox.cause from public;

alter table outbox.events add column cause bigint default outbox.cause();
