"""Members of the article's run in PyTorch, the data on the device.

pytorch_population.py DATA.npz BATCH EPOCHS EXAMPLES SEED MEMBERS. WAY is alone (eager, one after
another, as in pytorch.py) or ensemble (torch.func); SHARED=1 gives an ensemble's members the same
batches.
"""

import os
import sys
import time

import torch
from torch import nn

from benchmarks.task import given, result

task, members, shared = given(), int(sys.argv[6]), bool(os.environ.get("SHARED"))
torch.manual_seed(task.seed)
device = "cuda" if torch.cuda.is_available() else "cpu"
x_train = torch.from_numpy(task.x_train).to(device).permute(0, 3, 1, 2).float().div_(255)
y_train = torch.from_numpy(task.y_train).long().to(device)


def network():
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64),
        nn.ReLU(), nn.Linear(64, 10),
    )
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # there is one
    return model.to(device)


def adam(params):
    return torch.optim.Adam(params, lr=1e-3, eps=1e-7, fused=True)


def loss_and_hits(logits, y):
    return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).sum()


def alone():
    """A function that trains new members along their orders, one after another; it returns hits."""
    x = x_train.contiguous(memory_format=torch.channels_last)
    models = [network().to(memory_format=torch.channels_last) for _ in range(members)]
    optimizers = [adam(model.parameters()) for model in models]

    def train(orders):
        correct = torch.zeros((), device=device)
        for model, optimizer, order in zip(models, optimizers, orders, strict=True):
            for rows_B in order.split(task.batch):
                optimizer.zero_grad(set_to_none=True)
                loss, hits = loss_and_hits(model(x[rows_B]), y_train[rows_B])
                loss.backward()
                optimizer.step()
                correct += hits
        return correct

    return train


def ensemble():
    """The same of members stacked into one model, whose Adam is each member's: it is elementwise.

    Not channels_last: vmap moves members into the channels, where that layout only costs copies.
    """
    from torch.func import functional_call, grad, stack_module_state, vmap

    x, base = x_train.contiguous(), network()
    params, _ = stack_module_state([network() for _ in range(members)])
    optimizer = adam(params.values())

    def loss_of(params, x, y):
        return loss_and_hits(functional_call(base, params, (x,)), y)

    gradients = vmap(grad(loss_of, has_aux=True), (0, None, None) if shared else (0, 0, 0))

    @torch.no_grad()
    def train(orders):
        correct = torch.zeros((), device=device)
        for rows in orders.split(task.batch, dim=-1):
            gradient, hits = gradients(params, x[rows], y_train[rows])
            for name, param in params.items():
                param.grad = gradient[name]
            optimizer.step()
            correct += hits.sum()
        return correct

    return train


def drawn():
    """Every member's order of the examples, [members, examples]; a shared one is [examples]."""
    orders = [torch.randperm(len(y_train), device=device) for _ in range(members)]
    return orders[0] if shared else torch.stack(orders)


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


prepare = {"alone": alone, "ensemble": ensemble}[os.environ["WAY"]]
prepare()(drawn()[..., : task.batch + (len(y_train) % task.batch or task.batch)])
train = prepare()
wait()
first_step = time.time()
rows = []
for _ in range(task.epochs):
    began = time.perf_counter()
    correct = train(drawn())
    wait()
    seconds = time.perf_counter() - began
    rows.append({"seconds": seconds, "accuracy": float(correct) / (members * len(y_train))})
result(first_step, rows, torch.cuda.get_device_name() if device == "cuda" else "cpu", "torch")
