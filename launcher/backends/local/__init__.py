"""Jobs as supervised local processes."""
