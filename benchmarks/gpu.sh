#!/usr/bin/env bash
# Every GPU row of docs/results.md, on a machine with one: benchmarks/gpu.sh [PEERS_PYTHON]
# Needs CIFAR-10 prepared (TFDS_DATA_DIR) or a network. PEERS_PYTHON has keras, jax[cuda12] and
# torch; a peer that is missing is skipped by name. Prints tables; writes article-gpu.json.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=${1:-python}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
python launch.py doctor --device gpu
out=$(mktemp -d)
for seed in 0 1 2; do
  python launch.py --config configs/article.py --device gpu --seed "$seed" --run_dir "$out/$seed" \
    --memory
done
python launch.py --config configs/article.py --device gpu --epochs 1 --profile --run_dir "$out/p"
python -m benchmarks.article --python "$peers" --examples 50000 --variants --json article-gpu.json
python -m benchmarks.process --python "$peers" --device gpu
python -m benchmarks.population --python "$peers" --json population-gpu.json
