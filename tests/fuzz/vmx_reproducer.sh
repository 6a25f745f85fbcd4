#!/bin/bash
# vmx_reproducer.sh HOROS-FUZZ-VMX REPRODUCER.SH: an image with a case agrees with the model in Bochs;
# with one expectation falsified, and where Bochs is wrong, it says which value differs.
set -euo pipefail
fuzz=$1 boots=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$fuzz" --replay base --reproducers "$work/right"
"$fuzz" --replay base --reproducers "$work/wrong" --falsify
"$fuzz" --replay "$work/right/case.json" | grep "as the model says"
"$boots" "$work/right" bochs agrees
"$boots" "$work/wrong" bochs diverges "differs: "
# A software interrupt into a halted guest (SDM vol. 3C 325384-077US §26.3.1.5): Bochs enters.
sed 's/"state": {/&\n"guest.activity": "1", "control.entry_interruption_info": "80000420", "control.entry_instruction_length": "1",/' \
    "$work/right/case.json" >"$work/halted.json"
"$fuzz" --replay "$work/halted.json" --reproducers "$work/halted"
"$boots" "$work/halted" bochs diverges "differs: info.exit_reason: expected 0x80000021"
