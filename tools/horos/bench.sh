# ./horos bench

bench_usage() {
    cat <<'HELP'
usage: ./horos bench [--json] [OPTIONS OF tools/bench/run]
       ./horos bench --fuzz [--rounds N] [--cases N]

Measures, in QEMU with one tick per instruction, what exits, hypercalls, IPC and booting cost.

  --json  print JSON instead of a table
  --fuzz  cases per second of the differential fuzzer on each SVM target, on one core, beside a bare
          VMRUN loop on the same target (docs/fuzzing.md, "Speed"); wants an idle machine
HELP
}

main() {
    if [[ ${1:-} == --help || ${1:-} == -h ]]; then
        bench_usage
        exit 0
    fi
    if [[ ${1:-} == --fuzz ]]; then
        shift
        install_packages build boot test
        build release horos-fuzz
        local target
        for target in qemu-svm bochs-svm; do
            build/release/fuzz/horos-fuzz bench --target "$target" "$@"
        done
        exit 0
    fi
    [[ -x tools/bench/run ]] || die "there is no benchmark yet (tools/bench/run)"
    install_packages build boot
    build system horos-kernel horos-pack programs
    make_guest
    exec tools/bench/run "$@"
}
