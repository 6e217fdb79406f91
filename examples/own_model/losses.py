"""A loss that job.yaml names by `import: losses:PolyLoss`."""

from torch import Tensor, nn
from torch.nn import functional


class PolyLoss(nn.Module):
    """Poly-1: cross-entropy plus `epsilon` times 1 - p (Leng et al., "PolyLoss", 2022, equation 5).

    Args:
        epsilon: Weight of the first term of cross-entropy's series in 1 - p, on top of the 1 that it has there.
    """

    def __init__(self, epsilon: float = 1.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample [B] from logits [B, classes] and labels [B]."""
        cross_entropy = functional.cross_entropy(logits, labels, reduction="none")
        return cross_entropy + self.epsilon * (1 - (-cross_entropy).exp())
