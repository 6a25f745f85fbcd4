#!/bin/bash
# What ./horos and horos-pack say to a command line they cannot use: a message that names it, and a
# non-zero exit. Usage: cli_test.sh HOROS_PACK
set -uo pipefail
pack=$1
cd "$(dirname "$(realpath "$0")")/../.." || exit
failures=0

# expect STATUS TEXT COMMAND…: the exit status, and a text that stdout or stderr must have.
expect() {
    local status=$1 text=$2 output code
    shift 2
    output=$("$@" 2>&1 </dev/null)
    code=$?
    if ((code != status)) || [[ $output != *"$text"* ]]; then
        printf 'FAILED: %s\n  status %s, expected %s; expected the text: %s\n  output: %s\n' \
            "$*" "$code" "$status" "$text" "$output"
        failures=$((failures + 1))
    fi
}

expect 2 'usage: ./horos COMMAND' ./horos
expect 0 'usage: ./horos COMMAND' ./horos --help
expect 2 "there is no command 'frobnicate'" ./horos frobnicate
for command in run image test bench fmt explain fuzz; do
    expect 0 "usage: ./horos $command" ./horos $command --help
done
for command in run image test fmt; do
    expect 2 "unknown option '--frobnicate'" ./horos $command --frobnicate
done
expect 2 "option '--smp' needs a value" ./horos run --smp
expect 2 "--smp takes 1 to 64, not '65'" ./horos run --smp 65
expect 2 "--memory takes MiB, at least 128, not '64'" ./horos run --memory 64
expect 2 "--accel takes kvm or tcg, not 'fast'" ./horos run --accel fast
expect 2 "--target takes qemu or bochs, not 'moon'" ./horos run --target moon
expect 2 "--timeout takes seconds, not 'x'" ./horos run --timeout x
expect 1 "there is no description 'nowhere.toml'" ./horos run --description nowhere.toml
expect 1 "there is no description 'nowhere.toml'" ./horos image --description nowhere.toml
expect 2 "--preset takes release, debug or host-asan, not 'x'" ./horos test --preset x

expect 2 "there is no command 'frobnicate'" "$pack" frobnicate
expect 0 'Check a system description' "$pack" --help
expect 1 'nowhere.toml: error: cannot open' "$pack" check nowhere.toml
expect 1 'tools: error: is a directory' "$pack" inspect tools
expect 1 'README.md: error: is not a Horos bundle' "$pack" inspect README.md
expect 1 'README.md: error: is not an ELF file' "$pack" flatten README.md -o /dev/null
expect 2 'description is required' "$pack" check

((failures == 0)) && echo "all as expected"
exit $((failures != 0))
