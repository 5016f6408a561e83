"""The article's run in PyTorch, channels_last, the data on the device; COMPILE=1 compiles the step,
MODEL is a network of pytorch_networks.py.

On a GPU `reduce-overhead` captures the compiled step as CUDA graphs.
"""

import os
import time

import torch
from torch import nn

from benchmarks.peers.pytorch_networks import NETWORKS
from benchmarks.task import given, result

task = given()
torch.manual_seed(task.seed)
device = "cuda" if torch.cuda.is_available() else "cpu"


def articles():
    made = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64),
        nn.ReLU(), nn.Linear(64, 10),
    )
    for layer in made:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # there is one
    return made


model = NETWORKS.get(os.environ.get("MODEL", ""), articles)()
model = model.to(device, memory_format=torch.channels_last)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7, fused=True)


def placed(x, y):
    x = torch.from_numpy(x).to(device).permute(0, 3, 1, 2).float().div_(255)
    return x.contiguous(memory_format=torch.channels_last), torch.from_numpy(y).long().to(device)


def loss_and_hits(x, y):
    logits = model(x)
    return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).sum()


if os.environ.get("COMPILE"):
    loss_and_hits = torch.compile(
        loss_and_hits, mode="reduce-overhead" if device == "cuda" else "default", dynamic=False
    )


def train_step(x, y):
    optimizer.zero_grad(set_to_none=True)
    loss, hits = loss_and_hits(x, y)
    loss.backward()
    optimizer.step()
    return hits.clone()


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


x_train, y_train = placed(task.x_train, task.y_train)
x_test, y_test = placed(task.x_test, task.y_test)
kept = {name: value.clone() for name, value in model.state_dict().items()}
for size in {task.batch, len(y_train) % task.batch or task.batch}:
    for _ in range(3):  # CUDA graphs are captured in the second call
        train_step(x_train[:size].contiguous(memory_format=torch.channels_last), y_train[:size])
wait()
first_step = time.time()
model.load_state_dict(kept)
optimizer.state.clear()
rows = []
for _ in range(task.epochs):
    began = time.perf_counter()
    order, correct = torch.randperm(len(y_train), device=device), torch.zeros((), device=device)
    for rows_B in order.split(task.batch):
        correct += train_step(x_train[rows_B], y_train[rows_B])
    wait()
    seconds = time.perf_counter() - began
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum())
                    for x, y in zip(x_test.split(500), y_test.split(500), strict=True))
    model.train()
    rows.append({"seconds": seconds, "accuracy": float(correct) / len(y_train),
                 "val_accuracy": right / len(y_test)})
result(first_step, rows, torch.cuda.get_device_name() if device == "cuda" else "cpu", "torch")
