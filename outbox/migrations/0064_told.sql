-- works with code from 0001
-- What people see beside a watermark and beside the days of events: how far an incremental run looks back behind it, how long days are kept.

alter table outbox.syncs add overlap_s int;
alter table outbox.workers add keep_days int;
