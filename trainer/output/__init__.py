"""Everything that lands in the results folder."""
