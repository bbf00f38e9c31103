-- works with code from 0001
-- What a route's destination lacks is told beside the buttons that would call it.

alter table outbox.routes add lacks text;
