#!/usr/bin/env bash
# What phibench does on an NVIDIA card: benchmarks/gpu_proof.sh, which needs no set-up and appends to docs/gpu.md.
set -euo pipefail
if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "no NVIDIA card here (a card)"
    exit 77
fi
bash "$(dirname "$0")/../gpu_proof.sh" | sed 's/^gpu: //'
