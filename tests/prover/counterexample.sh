#!/bin/bash
# A seeded bug in the kernel's source, from end to end: the prover refutes the bug's bitcode and
# writes a GoogleTest; that test fails on the same source compiled for the host, and holds on the
# kernel as it is. usage: counterexample.sh PROVER BUILD CONFIG WORK
#   CONFIG: of tests/core/mutants (compiler, flags, libraries)
set -euo pipefail
prover=$1 build=$2 config=$3 work=$4
file=core/caps.cpp
old='(rights & ~source.rights) != 0' new='(rights & ~source.rights) == 0xfff'
theorem=refinement/cap_mint

# shellcheck source=/dev/null
source "$config/settings"
rm -rf "$work" && mkdir -p "$work"
[[ $(grep -cF "$old" "$SOURCES/$file") = 1 ]] || { echo "the seeded bug's text is gone" >&2; exit 1; }
OLD=$old NEW=$new perl -0777 -pe 's/\Q$ENV{OLD}\E/$ENV{NEW}/' "$SOURCES/$file" >"$work/bug.cpp"

# The bitcode, made as the kernel's is: its own commands, with the other file.
ninja -C "$build" -t commands kernel/core.bc | grep -F " -c $SOURCES/$file " |
    sed -e 's/ && [^ ]*cmake -E cmake_transform_depfile.*$//' -e "s# -c $SOURCES/$file # -c $work/bug.cpp #" -e 's# -MD -MF [^ ]*##' \
        -e "s# -o [^ ]*caps.cpp.bc# -o $work/bug.bc#" >"$work/compile"
ninja -C "$build" -t commands kernel/core.bc | grep -F llvm-link |
    sed -e 's#[^ ]*core/caps.cpp.bc#'"$work/bug.bc#" -e "s#[^ ]*/core.bc#$work/core.bc#g" >"$work/link"
(cd "$build" && sh -e "$work/compile" && sh -e "$work/link")

"$prover" --core "$work/core.bc" --only "$theorem" --tests "$work" >"$work/report" 2>&1 &&
    { echo "the seeded bug is not refuted" >&2; cat "$work/report" >&2; exit 1; }
cat "$work/report"
for argument in 'rdi (source)' 'r10 (badge)' 'cap_tables\['; do # the call, in the kernel's terms
    grep -q "^  $argument" "$work/report" || { echo "the report lacks '$argument'" >&2; exit 1; }
done
name=$work/${theorem/\//_}_test
[[ -f $name.cpp ]] || { echo "no counterexample was written" >&2; exit 1; }

grep -v '/core-test-objects.dir/' "$config/link.rsp" >"$work/link.rsp"
"$COMPILER" "@$config/compile.rsp" -c "$name.cpp" -o "$name.o"
"$COMPILER" "@$config/compile.rsp" -c "$work/bug.cpp" -o "$work/bug.o"
"$COMPILER" "$name.o" "$work/bug.o" "@$work/link.rsp" -o "$work/with-bug"
"$COMPILER" "$name.o" "@$work/link.rsp" -o "$work/without"
if "$work/with-bug" >"$work/with-bug.log" 2>&1; then
    echo "the counterexample does not fail on the seeded bug" >&2
    cat "$work/with-bug.log" >&2
    exit 1
fi
grep -q 'Failure' "$work/with-bug.log" || { cat "$work/with-bug.log" >&2; exit 1; }
"$work/without" || { echo "the counterexample fails on the kernel itself" >&2; exit 1; }
echo "refuted, fails with the bug, holds without"
