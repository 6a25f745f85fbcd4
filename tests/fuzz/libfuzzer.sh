#!/bin/bash
# Two libFuzzer processes share one corpus folder: libfuzzer.sh HOROS-FUZZ-MODEL SEEDS
# They run until each took over what the other found, not for a fixed time: on a busy machine one of
# them may start seconds later.
set -euo pipefail
program=$1 seeds=$2
folder=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir "$folder/corpus"
cp "$seeds"/0* "$folder/corpus"
before=$(find "$folder/corpus" -type f | wc -l)
for seed in 1 2; do
    "$program" -seed=$seed -reload=1 -max_len=8192 -max_total_time=90 -print_final_stats=1 \
        -artifact_prefix="$folder/" "$folder/corpus" >"$folder/log$seed" 2>&1 &
    pids+=($!)
done
for ((tenths = 0; tenths < 850; ++tenths)); do
    [[ $(grep -l RELOAD "$folder"/log? | wc -l) != 2 ]] || break
    kill -0 "${pids[@]}" 2>/dev/null || break
    sleep 0.1
done
kill -USR1 "${pids[@]}" 2>/dev/null || true # libFuzzer ends in good order
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
