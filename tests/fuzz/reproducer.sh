#!/bin/bash
# Boots the images of reproducers and wants the verdict of each:
#   reproducer.sh FOLDER qemu|bochs agrees|diverges [TEXT]
# TEXT must stand in what the image prints.
set -euo pipefail
folder=$1 emulator=$2 verdict=$3 text=${4:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$folder"/* "$work"
cd "$work"
if [[ $emulator == qemu ]]; then
    timeout 60 qemu-system-x86_64 -nodefaults -display none -cpu max,+svm -m 1040M -no-reboot \
        -device isa-debug-exit,iobase=0xf4,iosize=4 -debugcon stdio -kernel standalone.elf \
        >log 2>&1 </dev/null || true
else
    echo c >debugger
    timeout 60 bochs -q -f bochsrc -rc debugger >log 2>&1 </dev/null || true
fi
grep -a "^case:\|^exit\|^host\|^differs\|VERDICT" log || true
grep -aq "VERDICT $verdict" log || { tail -n 20 log; exit 1; }
[[ -z $text ]] || grep -aq -- "$text" log
