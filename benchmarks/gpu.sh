#!/usr/bin/env bash
# The GPU rows of docs/results.md, in parts of two minutes or less that print as they go:
#
#   benchmarks/gpu.sh loops|formulations|profile|article|peers|networks|population|start|tests
#
# Few minutes at a card: the dearest unknown first, which is their order here. `article`, `peers`,
# `networks`, `population`, `profile` and `start` need CIFAR-10 prepared (TFDS_DATA_DIR). PEERS is
# the Python that has torch, and keras with tensorflow; a peer that is missing is skipped by name.
# To try it elsewhere: DEVICE=cpu FEW=1 benchmarks/gpu.sh PART.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=${PEERS:-python} device=${DEVICE:-gpu} few=${FEW:-}
export JAX_PLATFORMS=${JAX_PLATFORMS:-$([ "$device" = gpu ] && echo cuda || echo "$device")}

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
train=(python launch.py --config configs/article.py --device "$device")
[ -z "$few" ] || train+=(--epochs 1 --train_split 'train[:640]' --validation_split 'test[:320]')

case ${1:-} in
loops)        # known trip counts and graphs of whole segments: µs an update, and whether bits agree
  python -m benchmarks.step loops ${few:+--updates 33 --examples 264 --batch 8 --calls 1} ;;
formulations) # products over patches or XLA's convolutions, batch by batch
  python -m benchmarks.step formulations \
    ${few:+--updates 1 --examples 32 --batch 8 --batch 16 --calls 1} ;;
profile)      # kernels of a step, by name, and how long the device is idle
  "${train[@]}" --epochs 1 --profile --run_dir "$out/kernels" ;;
article)      # ten epochs, compiled anew and a second time; with graphs of whole segments
  python launch.py doctor --device "$device"
  time "${train[@]}" --memory --run_dir "$out/first"
  time "${train[@]}" --seed 1 --run_dir "$out/second"
  [ "$device" = cpu ] || time "${train[@]}" --command_buffers loops --run_dir "$out/graphs" ;;
peers)        # the article's step, in turn with the others
  python -m benchmarks.article --python "$peers" --rounds 1 --epochs 2 --json "$out/article.json" \
    --batch 32 --examples "$([ "$few" ] && echo 64 || echo 50000)" \
    --peer "PyTorch, eager" --peer "PyTorch, compiled" --peer "Keras, JAX" ;;
networks)     # an ordinary network, float32 and bfloat16
  for precision in float32 bf16; do
    python -m benchmarks.networks resnet20 --python "$peers" --precision "$precision" --rounds 1 \
      --epochs 1 --json "$out/networks.json" \
      $([ "$few" ] && echo --steps 1 --batch 8 --test 8 --eager || echo --steps 50 --batch 512)
  done ;;
population)   # members at once: µs a step and member
  python -m benchmarks.population --python "$peers" --rounds 1 --json "$out/population.json" \
    --way "flaxmill, vmap, batched product" --way "PyTorch, torch.func" \
    $([ "$few" ] && echo --members 1 --members 2 --examples 64 \
      || echo --members 1 --members 8 --members 64 --members 256) ;;
start)        # whole processes, with and without a compile cache
  python -m benchmarks.process --python "$peers" --device "$device" ${few:+--epochs 1} ;;
tests)        # two runs, and one that is resumed, end in the same bits
  small=(python launch.py --dataset digits --image_size 32 --device "$device")
  "${small[@]}" --epochs 4 --run_dir "$out/a"
  "${small[@]}" --epochs 4 --run_dir "$out/b"
  "${small[@]}" --epochs 2 --run_dir "$out/c"
  python launch.py --resume "$out/c" --epochs 4 --device "$device"
  python - "$out" <<'PYTHON'
import json
import sys
from pathlib import Path

def rows(run):
    lines = (Path(sys.argv[1]) / run / "history.jsonl").read_text().splitlines()
    return [[json.loads(line)[name] for name in ("loss", "val_loss")] for line in lines]

for name, what in (("b", "the same run again"), ("c", "a run that was resumed")):
    print(f"{what}: {'equal' if rows(name) == rows('a') else 'NOT EQUAL'} to the bit")
PYTHON
  ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
