# ./horos fuzz

fuzz_usage() {
    cat <<'HELP'
usage: ./horos fuzz [OPTIONS]

Runs the differential fuzzer: the same cases on a target and on the reference model, differences
minimised and sorted by rule. The options are those of horos-fuzz:

HELP
}

main() {
    local help=
    if [[ ${1:-} == --help || ${1:-} == -h ]]; then
        help=yes
        fuzz_usage
    fi
    if [[ ! -f fuzz/CMakeLists.txt ]]; then
        [[ -z $help ]] || exit 0
        die "there is no fuzzer yet (fuzz/)"
    fi
    install_packages build boot test
    build release horos-fuzz
    local program
    program=$(find build/release/fuzz build/release/bin -name horos-fuzz -type f 2>/dev/null |
        head -n 1)
    exec "$program" "$@"
}
