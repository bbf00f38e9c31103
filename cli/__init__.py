"""The commands of `postroom`, one file each, and what they share. postroom.py assembles them; nothing imports this package."""
