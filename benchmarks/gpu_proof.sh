#!/usr/bin/env bash
# What phibench does on an NVIDIA card, in ten minutes, on a machine that has little more than the driver, CUDA's
# compiler and torch, and perhaps no network. Compiles llama.cpp, runs every engine on the card, and checks where the
# model was, its memory and energy by NVML, batches, partial offload, and the prediction from the data sheet. Appends
# to docs/gpu.md. Exit code 1 when a step falls short; one that cannot be shown says why. Without a card it says so.
#
#   PYTHON           a Python that has torch (python3)
#   GPU_PROOF_DEPS   what `make gpu-proof-deps` made on a machine with network (.gpu-proof)
#   GPU_PROOF_LIMIT  seconds for everything (590)
#   GPU_PROOF_PAGE   where the result is appended (docs/gpu.md)
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
deps=${GPU_PROOF_DEPS:-.gpu-proof}
total=${GPU_PROOF_LIMIT:-590}
page=${GPU_PROOF_PAGE:-docs/gpu.md}
asked="(every step that can run here, within $total s)"

if ! card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader --id=0 2>/dev/null); then
    echo "gpu: no NVIDIA card here, nothing shown $asked"
    exit 0
fi
card=${card%%$'\n'*}
card=${card/, /, driver }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/site" "$work/logs"
export PHIBENCH_CACHE=$work/cache PHIBENCH_RESULTS=$work/results
export PYTHONPATH=$work/site:$PWD${PYTHONPATH:+:$PYTHONPATH}
if ! command -v phibench >/dev/null; then
    printf '#!/bin/sh\nexec "%s" -m phibench "$@"\n' "$(command -v "$python")" >"$work/bin/phibench"
    chmod +x "$work/bin/phibench"
    export PATH=$work/bin:$PATH
fi

held=0 short=() skipped=()

# step NAME SECONDS [ARGUMENT...]: one step of gpu_proof.py, stopped when its time, or all time, is over.
step() {
    local name=$1 limit=$2 left=$((total - SECONDS)) began=$SECONDS code=0 said holds
    shift 2
    ((limit < left)) || limit=$left
    if ((limit < 1)); then
        said="no time was left" code=1
    else
        timeout -k 5 "$limit" "$python" benchmarks/gpu_proof.py "$name" "$work" "$@" \
            >"$work/logs/$name.out" 2>"$work/logs/$name.err" || code=$?
        said=$(tail -n 1 "$work/logs/$name.out")
    fi
    case $code in
        0) holds=yes held=$((held + 1)) ;;
        77) holds="not here" skipped+=("$name") ;;
        124 | 137) holds=no said="stopped after $limit s" short+=("$name") ;;
        *) holds=no short+=("$name") ;;
    esac
    if [[ $holds == no && -s $work/logs/$name.err ]]; then
        tail -n 15 "$work/logs/$name.err" >&2
        said=${said:-$(tail -n 1 "$work/logs/$name.err")}
    fi
    printf '%s\t%s\t%s\t%s\n' "$name" "$holds" "$((SECONDS - began))" "${said//$'\t'/ }" >>"$work/steps.tsv"
    echo "  $name: $said ($holds, $((SECONDS - began)) s)" >&2
}

step site 60 "$deps"
step build 420 "$deps"
step llama_cpp 90
step prediction 30
step memory 60
step batches 60
step offload 60
step torch 90
step energy 90
step onnxruntime 90
"$python" benchmarks/gpu_proof.py page "$work" "$page" "$card" "$(date -u +%F)" >&2

why=""
((${#short[@]} == 0)) || why+=", short: ${short[*]}"
((${#skipped[@]} == 0)) || why+=", not here: ${skipped[*]}"
echo "gpu: $held steps hold on $card in $SECONDS s$why $asked"
((${#short[@]} == 0))
