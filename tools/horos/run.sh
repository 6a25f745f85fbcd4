# ./horos run

run_usage() {
    cat <<'HELP'
usage: ./horos run [--description FILE] [--smp N] [--memory MIB] [--accel kvm|tcg]
                   [--target qemu|bochs] [--cpu MODEL] [--timeout SECONDS]

Builds Horos, gets Debian's kernel as a guest, packs the system that FILE describes (default:
descriptions/demo.toml) and boots it in QEMU. COM1 is this terminal; Horos's own log and the lines
of the other partitions go to build/run/horos.log.

  --description FILE  system description to boot
  --smp N             processors of the machine (default: as many as the description has cores)
  --memory MIB        its memory (default: what the description needs and 512 MiB more)
  --accel kvm         run on this machine's processor (with nested virtualisation; untested)
  --target bochs      boot an ISO image in Bochs, which has Intel's VMX (slow; at most 8 processors)
  --cpu MODEL         Bochs's processor (default: corei7_skylake_x; ryzen has AMD's SVM)
  --timeout SECONDS   end the run after so long, with status 124

`poweroff` in the guest ends the run with status 0. On a terminal, Ctrl-C goes to the guest;
Ctrl-A X ends QEMU or Bochs.
HELP
}

# Where the preset "system" builds; a test boots what another preset built.
built=${HOROS_BUILT:-build/system}

# Values of the options.
description=descriptions/demo.toml
smp=
memory=
accel=tcg
target=qemu
cpu=corei7_skylake_x
timeout=

parse_options() {
    while (($#)); do
        case $1 in
        --help | -h)
            run_usage
            exit 0
            ;;
        --description | --smp | --memory | --accel | --timeout | --target | --cpu)
            need_value "$1" $#
            set_option "$1" "$2"
            shift 2
            ;;
        *) misuse "unknown option '$1'" ;;
        esac
    done
}

set_option() {
    case $1 in
    --description)
        [[ -f $2 ]] || die "there is no description '$2'"
        description=$2
        ;;
    --smp)
        { is_number "$2" && (($2 >= 1 && $2 <= 64)); } || misuse "--smp takes 1 to 64, not '$2'"
        smp=$2
        ;;
    --memory)
        { is_number "$2" && (($2 >= 128)); } || misuse "--memory takes MiB, at least 128, not '$2'"
        memory=$2
        ;;
    --accel)
        [[ $2 == kvm || $2 == tcg ]] || misuse "--accel takes kvm or tcg, not '$2'"
        accel=$2
        ;;
    --timeout)
        is_number "$2" || misuse "--timeout takes seconds, not '$2'"
        timeout=$2
        ;;
    --target)
        [[ $2 == qemu || $2 == bochs ]] || misuse "--target takes qemu or bochs, not '$2'"
        target=$2
        ;;
    --cpu)
        [[ $2 =~ ^[a-z0-9_]+$ ]] || misuse "--cpu takes the name of a model of Bochs, not '$2'"
        cpu=$2
        ;;
    esac
}

# Fills in what the options left open, from the bundle's own needs.
read_needs() {
    local key value
    while read -r key value; do
        case $key in
        cores) smp=${smp:-$value} ;;
        memory_mib) memory=${memory:-$((value + 512))} ;;
        esac
    done < <("$built/tools/pack/horos-pack" inspect --needs "$1")
}

check_kvm() {
    [[ -r /dev/kvm && -w /dev/kvm ]] || die "--accel kvm: /dev/kvm is not there or not yours to use"
    grep -qwE 'svm|vmx' /proc/cpuinfo ||
        die "--accel kvm: this processor has neither SVM nor VMX (use --accel tcg)"
}

# QEMU in the foreground's process group with the terminal as its own; nothing survives this script.
qemu_pid=
terminal=

end_qemu() {
    trap '' INT TERM HUP
    if [[ -n $qemu_pid ]] && kill -0 "$qemu_pid" 2>/dev/null; then
        kill -TERM "$qemu_pid" 2>/dev/null || true
        wait "$qemu_pid" 2>/dev/null || true
    fi
    [[ -z $terminal ]] || stty "$terminal" 2>/dev/null || true
}

boot() {
    local bundle=$1
    local log=build/run/horos.log events=build/run/qemu.log
    rm -f $log $events
    local words
    mapfile -t words < <(tools/horos/qemu-machine "$accel" "$smp" "$memory")
    words+=(-kernel "$built/horos-kernel" -initrd "$bundle" -append onfatal=reset
        -chardev "stdio,id=terminal,mux=on,signal=off" -serial chardev:terminal
        -mon chardev=terminal -serial "file:$log"
        -trace qemu_system_shutdown_request -D "$events")
    [[ -z $timeout ]] || words=(timeout --foreground "$timeout" "${words[@]}")

    if [[ -t 0 ]]; then
        terminal=$(stty -g)
    fi
    trap 'end_qemu; exit 130' INT
    trap 'end_qemu; exit 143' TERM HUP
    trap end_qemu EXIT
    "${words[@]}" <&0 &
    qemu_pid=$!
    local code=0
    wait "$qemu_pid" || code=$?
    qemu_pid=
    [[ -z $terminal ]] || stty "$terminal"
    report_end $code $log $events
}

# QEMU ends with 0 for a power-off and for a reset alike; only the first is a good end. Its trace
# says which it was: reason 6 is a power-off by the guest, 2 the quit command (Ctrl-A X). Kernel and
# root task say in the log when they could not go on.
report_end() {
    local code=$1 log=$2 events=$3 lines=0 fatal=
    if [[ -f $log ]]; then
        lines=$(wc -l <"$log")
        fatal=$(grep -a '^horos: fatal:' "$log" || true)
        # What the test programs of the system found, in their own words.
        grep -aE '^\[.*(probes|summary):' "$log" >&2 || true
    fi
    if ((code == 124)); then
        status "ended after the timeout of $timeout s"
    elif ((code != 0)); then
        status "QEMU ended with status $code"
    elif [[ -n $fatal ]]; then
        printf '%s\n' "$fatal" >&2
        code=1
    elif ! grep -Eq 'reason=(6|2)$' "$events" 2>/dev/null; then
        status "the machine was reset, not powered off: Horos or its processor failed"
        code=1
    fi
    status "log: $log ($lines lines)"
    return "$code"
}

# Bochs boots what a CD would have; horos-bochs brings its serial lines here.
boot_bochs() {
    ((smp <= 8)) || misuse "--target bochs has at most 8 processors, not $smp"
    bochs --help cpu 2>&1 | grep -x "$cpu" >/dev/null || misuse "Bochs has no processor '$cpu'"
    status "writing build/run/horos.iso"
    tools/horos/make-iso "$built/horos-kernel" "$1" build/run/horos.iso no ||
        die "the image could not be written"
    status "booting: $smp processor(s) $cpu, $memory MiB, in Bochs; Ctrl-A X ends it"
    local code=0
    "$built/tools/machine/bochs/horos-bochs" --iso build/run/horos.iso --model "$cpu" \
        --cores "$smp" --memory "$memory" --directory build/run/bochs --log build/run/horos.log \
        --timeout "${timeout:-0}" || code=$?
    grep -aE '^\[.*(probes|summary):' build/run/horos.log >&2 || true
    status "log: build/run/horos.log ($(wc -l <build/run/horos.log) lines)"
    return "$code"
}

main() {
    parse_options "$@"
    local groups=(build boot) targets=(horos-kernel horos-pack programs)
    if [[ $target == bochs ]]; then
        [[ $accel == tcg ]] || misuse "--accel is for --target qemu"
        groups+=(image bochs)
        targets+=(horos-bochs)
    fi
    install_packages "${groups[@]}"
    [[ $accel == tcg ]] || check_kvm
    build system "${targets[@]}"
    make_guest
    mkdir -p build/run
    pack "$description" build/run/horos.bundle || exit 1
    read_needs build/run/horos.bundle
    local code=0
    if [[ $target == bochs ]]; then
        boot_bochs build/run/horos.bundle || code=$?
        exit $code
    fi
    status "booting: $smp processor(s), $memory MiB, $accel; Ctrl-A X ends QEMU"
    boot build/run/horos.bundle || code=$?
    exit $code
}
