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
