-- name: apply
-- a page as Notion has it now. Times are rounded to the minute over there: equal means unknown, so the content decides.
insert into crm.clients as c (notion_page_id, data_source_id, name, slug, contact_email, products_services, client_page_info, properties, url, edited_at, content_hash, in_trash)
values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11, $12)
on conflict (notion_page_id) do update
set data_source_id = excluded.data_source_id, name = excluded.name, slug = excluded.slug, contact_email = excluded.contact_email,
    products_services = excluded.products_services, client_page_info = excluded.client_page_info, properties = excluded.properties, url = excluded.url,
    edited_at = excluded.edited_at, content_hash = excluded.content_hash, in_trash = excluded.in_trash, synced_at = now()
where c.edited_at <= excluded.edited_at and c.content_hash <> excluded.content_hash
returning (xmax = 0) created

-- name: one
-- read only: a client.
select notion_page_id, name, slug, contact_email, products_services, client_page_info, properties, url, edited_at, in_trash from crm.clients where notion_page_id = $1

-- name: known
-- read only: what we have of these pages.
select notion_page_id, edited_at, synced_at, client_page_info from crm.clients where notion_page_id = any($1::uuid[])

-- name: unseen
-- read only: clients of data source $2 that full run $1 has not met, although they were here before it began ($3); above id $4, at most $5.
select c.notion_page_id from crm.clients c
where not c.in_trash and c.data_source_id = $2 and c.synced_at < $3 and ($4::uuid is null or c.notion_page_id > $4)
  and not exists (select from outbox.run_seen s where s.run_id = $1 and s.record = c.notion_page_id::text)
order by c.notion_page_id limit $5
