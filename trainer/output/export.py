"""The trained network as one file that needs none of our code."""

import logging
from pathlib import Path

import torch
from torch import nn

from trainer.output.storage import replacing

EXPORT_FILE = "model.pt2"

log = logging.getLogger(__name__)


def export_classifier(folder: Path, network: nn.Module, input_shape: tuple[int, int, int]) -> str | None:
    """Write ``model.pt2`` (torch.export): uint8 images [B, C, H, W] as stored in, logits [B, classes] out.

    ``network`` is moved to the CPU and put into evaluation mode. Returns the file's name, or None where torch cannot
    export it: that costs the file, not the run.
    """
    network = network.cpu().eval()
    example = torch.zeros(2, *input_shape, dtype=torch.uint8)
    try:
        program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # noqa: BLE001 - any failure of the exporter means the same to the run
        log.warning("torch cannot export this network: %s", error)
        return None
    with replacing(folder / EXPORT_FILE) as temporary:
        torch.export.save(program, temporary)
    return EXPORT_FILE
