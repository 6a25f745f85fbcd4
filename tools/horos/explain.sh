# ./horos explain

explain_usage() {
    cat <<'HELP'
usage: ./horos explain [OPTIONS] DUMP

Says which rules of the architecture manual a virtual-machine control block breaks, where they
stand, and what the smallest change is that mends it. The options are those of horos-explain:

HELP
}

main() {
    local help=
    if [[ ${1:-} == --help || ${1:-} == -h ]]; then
        help=yes
        explain_usage
    fi
    if [[ ! -f tools/explain/CMakeLists.txt ]]; then
        [[ -z $help ]] || exit 0
        die "there is no horos-explain yet (tools/explain)"
    fi
    install_packages build test
    build release horos-explain
    local program
    program=$(find build/release/tools/explain build/release/bin -name horos-explain -type f \
        2>/dev/null | head -n 1)
    exec "$program" "$@"
}
