"""From job.yaml to values: pure functions on frozen models."""
