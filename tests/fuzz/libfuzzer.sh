#!/bin/bash
# Two libFuzzer processes share one corpus folder: libfuzzer.sh HOROS-FUZZ-MODEL SEEDS
set -euo pipefail
program=$1 seeds=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/corpus"
cp "$seeds"/0* "$folder/corpus"
before=$(find "$folder/corpus" -type f | wc -l)
pids=()
for seed in 1 2; do
    "$program" -seed=$seed -reload=1 -max_len=8192 -max_total_time=6 -print_final_stats=1 \
        -artifact_prefix="$folder/" "$folder/corpus" >"$folder/log$seed" 2>&1 &
    pids+=($!)
done
for i in 0 1; do
    wait "${pids[$i]}" || {
        cat "$folder/log$((i + 1))"
        exit 1
    }
done
after=$(find "$folder/corpus" -type f | wc -l)
grep -h number_of_executed_units "$folder"/log?
echo "corpus: $before files before, $after after"
((after > before)) || { echo "nothing was found"; exit 1; }
for seed in 1 2; do
    grep -q RELOAD "$folder/log$seed" ||
        { echo "process $seed took nothing from the other"; tail -n 20 "$folder/log$seed"; exit 1; }
done
