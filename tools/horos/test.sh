# ./horos test

test_usage() {
    cat <<'HELP'
usage: ./horos test [--fast] [-R REGEX] [--preset NAME] [--junit FILE]

Configures, builds and runs the tests.

  --fast         leave out the tests that take long (those that boot machines)
  -R REGEX       only tests whose name matches
  --preset NAME  release (default), debug, or host-asan: host code under ASan and UBSan
  --junit FILE   write the results as JUnit XML too
HELP
}

main() {
    local preset=release options=()
    while (($#)); do
        case $1 in
        --help | -h)
            test_usage
            exit 0
            ;;
        --fast)
            options+=(-LE slow)
            shift
            ;;
        -R)
            need_value "$1" $#
            options+=(-R "$2")
            shift 2
            ;;
        --preset)
            need_value "$1" $#
            [[ $2 == release || $2 == debug || $2 == host-asan ]] ||
                misuse "--preset takes release, debug or host-asan, not '$2'"
            preset=$2
            shift 2
            ;;
        --junit)
            need_value "$1" $#
            options+=(--output-junit "$(realpath -m "$2")")
            shift 2
            ;;
        *) misuse "unknown option '$1'" ;;
        esac
    done
    install_packages build boot image test
    make_guest
    build "$preset"
    status "running the tests ($preset)"
    local progress=()
    [[ ! -t 1 ]] || progress=(--progress)
    exec ctest --preset "$preset" -j "$jobs" "${progress[@]}" "${options[@]}"
}
