"""Kinds of problems: data, network, loss, metrics and results of each, found by the config in a plain dict."""

from trainer.tasks.registry import TASKS, build_folds, build_task

__all__ = ["TASKS", "build_folds", "build_task"]
