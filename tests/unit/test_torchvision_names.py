"""The names a laptop without torch checks against are torchvision's own."""

from torchvision import models

from trainer.config.torchvision_models import TORCHVISION_CLASSIFIERS


def test_the_names_are_exactly_torchvisions_classifiers() -> None:
    assert list(TORCHVISION_CLASSIFIERS) == sorted(models.list_models(module=models))
