"""One module for each table, its statements in outbox/queries under the same stem. Every function takes the connection first.

Functions do not open or end transactions unless they say so; all may raise DatabaseUnavailable.
"""
