"""Networks: one file a family, found by the config in a plain dict."""

from trainer.models.registry import MODELS, build_model, required_channels

__all__ = ["MODELS", "build_model", "required_channels"]
