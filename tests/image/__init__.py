"""The trainer's image: built here on a Debian base made from scratch, then run as a cluster would run it."""
