"""The operators' JSON API: one table of operations (table.py), from which the routes and /openapi.json are made."""
