# ./horos test

test_usage() {
    cat <<'HELP'
usage: ./horos test [--fast] [-R REGEX] [--preset NAME] [--seed N|random] [--junit FILE]

Configures, builds and runs the tests.

  --fast         leave out the tests that take long (those that boot machines)
  -R REGEX       only tests whose name matches
  --preset NAME  release (default), debug, or host-asan: host code under ASan and UBSan
  --seed N       seed of the random tests: the same commit tests the same cases everywhere
                 (default 1); "random" draws a new one and says which
  --junit FILE   write the results as JUnit XML too
HELP
}

main() {
    local preset=release options=() seed=1
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
        --seed)
            need_value "$1" $#
            seed=$2
            [[ $seed != random ]] || seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
            [[ $seed =~ ^[0-9]{1,18}$ ]] || misuse "--seed takes a number or 'random', not '$2'"
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
    export RC_PARAMS="seed=$seed${RC_PARAMS:+ $RC_PARAMS}"
    status "running the tests ($preset, seed $seed)"
    local progress=()
    [[ ! -t 1 ]] || progress=(--progress)
    exec ctest --preset "$preset" -j "$jobs" "${progress[@]}" "${options[@]}"
}
