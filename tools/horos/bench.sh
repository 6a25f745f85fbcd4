# ./horos bench

bench_usage() {
    cat <<'HELP'
usage: ./horos bench [--json] [OPTIONS OF tools/bench/run]

Measures, in QEMU with one tick per instruction, what exits, hypercalls, IPC and booting cost.

  --json  print JSON instead of a table
HELP
}

main() {
    if [[ ${1:-} == --help || ${1:-} == -h ]]; then
        bench_usage
        exit 0
    fi
    [[ -x tools/bench/run ]] || die "there is no benchmark yet (tools/bench/run)"
    install_packages build boot
    build system horos-kernel horos-pack programs
    make_guest
    exec tools/bench/run "$@"
}
