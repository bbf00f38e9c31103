-- works with code from 0001
-- Which of a user's Google contacts are left out, because nothing of them says who they are: counted beside each user.

create table crm.google_unidentified (
  user_id       text not null references crm.google_users on delete cascade,
  resource_name text not null,
  primary key (user_id, resource_name)
);
alter table crm.google_unidentified enable row level security;
create policy own_unidentified on crm.google_unidentified using (user_id = current_setting('postroom.user_id', true));
