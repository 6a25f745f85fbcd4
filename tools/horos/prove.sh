# ./horos prove

prove_usage() {
    cat <<'HELP'
usage: ./horos prove [OPTIONS]

Proves theorems about the bitcode that the kernel image is made of: that each way into the core is
free of undefined behaviour and bounded, keeps the invariants of spec/, and does what spec/ says.
The options are those of horos-prove; --jobs, --cache and --expected have defaults here.

  --list             name the theorems and what each says
  --check-list       whether every way into the core has its theorems; proves nothing
  --only PATTERN     only theorems whose name contains PATTERN; several: A,B
  --mutants N        change one instruction of the kernel at a time, in N ways: each mutant must be
                     refuted by a theorem, or shown to be equivalent
  --mutant NUMBER    of those, try only this one; several: A,B
  --table FILE       write the table of mutants (docs/mutants.md), with what proofs/mutants.txt
                     says of single ones
  --proved FILE      for --mutants: what is proved is in this report (--json) of the same bitcode
  --mutant-seconds N  of processor time for one mutant (120)
  --tests DIR        write each counterexample as a GoogleTest of the code for the host
  --jobs N           at once (number of processors)
  --timeout SECONDS  of processor time for one theorem (60)
  --query-timeout SECONDS  for one question to the solver (8), counted in its own steps
  --json FILE        write the report as JSON
  --html FILE        write the report as a page
  --assurance [FILE]  write docs/assurance.md; proofs/assurance.md is its beginning
  --all              also the theorems of proofs/open.txt, which are known not to go through: they
                     then count as failures
  --verbose          show what each theorem needed

Exit status 0: all theorems were proved that are not listed as open; 1: not all; 2: a bad option.
HELP
}

main() {
    local options=(--remarks proofs/mutants.txt --preface proofs/assurance.md) expected=(--expected proofs/open.txt) threads=(--jobs "$jobs")
    while (($#)); do
        case $1 in
        --help | -h)
            prove_usage
            exit 0
            ;;
        --all) expected=() ;;
        --jobs)
            need_value "$1" $#
            threads=(--jobs "$2")
            shift
            ;;
        --assurance)
            if [[ ${2:--} == -* ]]; then
                options+=(--assurance docs/assurance.md)
            else
                options+=(--assurance "$2")
                shift
            fi
            ;;
        *) options+=("$1") ;;
        esac
        shift
    done
    install_packages build test
    build release horos-prove proof-bitcode horos-kernel
    mkdir -p build/release/proofs/cache
    exec build/release/proofs/horos-prove "${expected[@]}" "${threads[@]}" \
        --cache build/release/proofs/cache "${options[@]}"
}
