"""The one error of the embedded Postgres; its message says which folder or file, and what to do now."""

from outbox.errors import PostroomError


class EmbeddedError(PostroomError):
    """The embedded Postgres cannot be found, made, started or stopped."""
