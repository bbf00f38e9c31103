"""Nothing here: the fixtures are those of outbox.testing, as an app that uses Postroom gets them."""
