#!/bin/bash
# Every description of this repository is good, and its bundle survives its own inspection but not a
# cut or a flipped bit. Usage: descriptions_test.sh HOROS_PACK PROGRAMS GUEST_FILES
set -euo pipefail
pack=$1 programs=$2 guest=$3
cd "$(dirname "$(realpath "$0")")/../.."
[[ -f $programs/root.prog && -f $guest/vmlinuz ]] || {
    echo "skipped: no flat programs or no guest kernel in this build"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for description in descriptions/*.toml; do
    "$pack" build "$description" --files "$guest" --programs "$programs" -o "$work/bundle"
    "$pack" inspect "$work/bundle" >/dev/null
    "$pack" inspect --json "$work/bundle" | python3 -m json.tool >/dev/null
done

size=$(stat -c %s "$work/bundle")
head -c $((size - 4096)) "$work/bundle" >"$work/cut"
if "$pack" inspect "$work/cut" 2>"$work/message"; then
    echo "a cut bundle was accepted"
    exit 1
fi
grep 'is cut short' "$work/message"

cp "$work/bundle" "$work/flipped"
byte=$(od -An -tu1 -j $((size / 2)) -N 1 "$work/flipped")
printf "\\x$(printf %x $((byte ^ 1)))" |
    dd of="$work/flipped" bs=1 seek=$((size / 2)) conv=notrunc status=none
if "$pack" inspect "$work/flipped" 2>"$work/message"; then
    echo "a bundle with a flipped bit was accepted"
    exit 1
fi
grep 'is damaged' "$work/message"
