"""Train PyTorch models from one job.yaml, on a laptop or on a Kubernetes GPU cluster."""

__version__ = "0.1.0"
