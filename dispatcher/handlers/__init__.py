"""What an event does. A handler is small, typed, and returns an outcome; it writes to other systems through steps and sees no SQL."""
