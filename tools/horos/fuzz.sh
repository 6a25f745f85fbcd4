# ./horos fuzz

fuzz_usage() {
    cat <<'HELP'
usage: ./horos fuzz [OPTIONS]

Runs the differential fuzzer: the same cases on a target and on the reference model, differences
minimised and sorted by rule. '--target bochs-vmx' holds VM entries on Bochs against the VMX model
(horos-fuzz-vmx; --cpu chooses the processor). The options are those of horos-fuzz:

HELP
}

# The program, when it was built.
find_fuzz() {
    find build/release/fuzz build/release/bin -name horos-fuzz -type f 2>/dev/null | head -n 1 || true
}

main() {
    if [[ ${1:-} == --help || ${1:-} == -h ]]; then
        fuzz_usage
        local built
        built=$(find_fuzz)
        if [[ -n $built ]]; then
            "$built" --help
        else
            echo "(horos-fuzz is not built yet; './horos fuzz' with any other option builds it)"
        fi
        exit 0
    fi
    install_packages build boot test
    if [[ " $* " == *" bochs-vmx "* || " $* " == *" --target=bochs-vmx "* ]]; then
        build release horos-fuzz-vmx
        exec build/release/fuzz/vmx/horos-fuzz-vmx "$@"
    fi
    build release horos-fuzz
    exec "$(find_fuzz)" "$@"
}
