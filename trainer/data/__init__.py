"""Data sets held as uint8, their splits, sample order and augmentation."""
