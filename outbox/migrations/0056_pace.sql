-- works with code from 0001
-- How fast a run gets on, and when it last did: what is left of it can be told in time.

alter table outbox.runs add pace real, add moved_at timestamptz;
