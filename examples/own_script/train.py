"""Handwritten digits by plain PyTorch with DDP: saves, resumes, and leaves when it is asked to."""

import argparse
import json
import os
import signal
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--lr", type=float, default=0.1)
options = parser.parse_args()
asked_to_leave: list[int] = []
signal.signal(signal.SIGTERM, lambda number, _: asked_to_leave.append(number))

device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu")
if device.type == "cuda":
    torch.cuda.set_device(device)
dist.init_process_group("nccl" if device.type == "cuda" else "gloo")  # RANK, MASTER_ADDR, ... are in the environment
rank, ranks = dist.get_rank(), dist.get_world_size()
results = Path(os.environ["RESULTS_DIR"])
checkpoint = results / "checkpoints" / "last.pt"

data = load_digits()
images, labels = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
test_images, test_labels, images, labels = images[:360], labels[:360], images[360:], labels[360:]
steps_per_epoch = len(images) // 64
steps = options.epochs * steps_per_epoch

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
model = nn.parallel.DistributedDataParallel(network)
optimizer = torch.optim.SGD(network.parameters(), lr=options.lr, momentum=0.9)
done, metrics = 0, (results / "metrics.jsonl").open("ab", buffering=0)
if checkpoint.exists():
    saved = torch.load(checkpoint, map_location=device)
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    done = saved["step"]
    print(f"resumed after step {done}")
if rank == 0:  # what was written after the checkpoint comes again
    metrics.truncate(saved["metrics_bytes"] if done else 0)


def save(step: int) -> None:
    """Under another name first: a checkpoint is whole or not there."""
    state = {"step": step, "metrics_bytes": metrics.tell(), "network": network.state_dict()}
    checkpoint.parent.mkdir(exist_ok=True)
    torch.save({**state, "optimizer": optimizer.state_dict()}, checkpoint.with_name(".tmp-last.pt"))
    checkpoint.with_name(".tmp-last.pt").replace(checkpoint)


for step in range(done + 1, steps + 1):
    epoch, position = divmod(step - 1, steps_per_epoch)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
    mine = order[position * 64 :][:64][rank::ranks]  # this rank's share of the step's 64 samples
    loss = nn.functional.cross_entropy(model(images[mine].to(device)), labels[mine].to(device))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    sums = torch.tensor([loss.item(), len(asked_to_leave)], device=device)
    dist.all_reduce(sums)  # of the flags too: all ranks leave after the same step
    if rank == 0:
        line = {"step": step, "epoch": epoch + 1, "loss": sums[0].item() / ranks}
        if position + 1 == steps_per_epoch:
            line["accuracy"] = (network(test_images.to(device)).argmax(1).cpu() == test_labels).double().mean().item()
        metrics.write(json.dumps(line).encode() + b"\n")
        if position + 1 == steps_per_epoch or sums[1]:
            print("@progress", json.dumps({**line, "steps": steps, "epochs": options.epochs}))
            save(step)
    if sums[1]:
        raise SystemExit(143)  # asked to leave, and saved

dist.destroy_process_group()
