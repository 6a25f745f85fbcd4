# ./horos explain

explain_usage() {
    cat <<'HELP'
usage: ./horos explain [OPTIONS] DUMP

Says which rules of the architecture manual a virtual-machine control block breaks, where they
stand, and what the smallest change is that mends it. The options are those of horos-explain:

HELP
}

# The program, when it was built.
find_explain() {
    find build/release/tools/explain build/release/bin -name horos-explain -type f 2>/dev/null | head -n 1 || true
}

main() {
    if [[ ${1:-} == --help || ${1:-} == -h ]]; then
        explain_usage
        local built
        built=$(find_explain)
        if [[ -n $built ]]; then
            "$built" --help
        else
            echo "(horos-explain is not built yet; './horos explain' with any other option builds it)"
        fi
        exit 0
    fi
    install_packages build test
    build release horos-explain
    exec "$(find_explain)" "$@"
}
