#!/bin/bash
# Two campaigns share one corpus folder: shared_corpus.sh HOROS-FUZZ
set -euo pipefail
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pids=()
# By time: the folder is read again once a second, and thousands of cases take less.
for seed in 1 2; do
    "$program" --target qemu-svm --seed $seed --time 10 --quiet \
        --corpus "$folder/corpus" --json "$folder/$seed.json" >"$folder/log$seed" 2>&1 &
    pids+=($!)
done
# What they find depends on which is faster: new divergences (1) are for other tests to report.
for i in 0 1; do
    status=0
    wait "${pids[$i]}" || status=$?
    ((status <= 1)) || { cat "$folder/log$((i + 1))"; exit 1; }
done
# each took cases that the other had put there
grep -H '"imported"' "$folder"/?.json
for seed in 1 2; do
    grep -q '"imported": [1-9]' "$folder/$seed.json"
done
# every file is a case, named by its content: nothing half-written is left
files=$(find "$folder/corpus" -type f | wc -l)
odd=$(find "$folder/corpus" -type f ! -regex '.*/[0-9a-f]*' | wc -l)
echo "$files cases, $odd other files"
((files > 100 && odd == 0))
