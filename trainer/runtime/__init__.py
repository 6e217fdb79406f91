"""Processes, ranks, signals and how they end."""
