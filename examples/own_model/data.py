"""A data set that job.yaml names by `import: data:WrittenDigits`."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import Dataset


class WrittenDigits(Dataset[tuple[Tensor, int]]):
    """scikit-learn's 8x8 digits as uint8 images [1, 8, 8] and labels from 0.

    Args:
        inverted: Black on white, rather than white on black.
    """

    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    def __init__(self, inverted: bool = False) -> None:
        digits = load_digits()
        ink = torch.from_numpy(digits.images * 255 / 16).to(torch.uint8)
        self.images = (255 - ink if inverted else ink).unsqueeze(1)
        self.labels = digits.target.tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.labels[index]
