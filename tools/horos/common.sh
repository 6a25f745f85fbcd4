# What the commands of ./horos share. Sourced, never run.

jobs=$(nproc)

# A line of status, on stderr so that it never mixes with a result.
status() {
    printf 'horos: %s\n' "$*" >&2
}

die() {
    printf 'horos: error: %s\n' "$*" >&2
    exit 1
}

# Bad use of the command line: says so and how to get help.
misuse() {
    printf 'horos: error: %s\n' "$1" >&2
    printf "Try './horos %s --help'.\n" "$command" >&2
    exit 2
}

# need_value OPTION COUNT: OPTION takes a value; COUNT words are left, itself included.
need_value() {
    (($2 >= 2)) || misuse "option '$1' needs a value"
}

is_number() {
    [[ $1 =~ ^[0-9]+$ ]]
}

# install_packages GROUP...: apt-get installs what is missing of these groups of packages.txt.
install_packages() {
    local groups=" $* " package group missing=()
    while read -r package group _; do
        [[ -z $package || $package == \#* || $groups != *" $group "* ]] && continue
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done <"$HOROS_ROOT/tools/packages.txt"
    ((${#missing[@]})) || return 0

    status "installing ${#missing[@]} Debian package(s): ${missing[*]}"
    local sudo=()
    ((EUID == 0)) || sudo=(sudo)
    mkdir -p "$HOROS_ROOT/build"
    local log=$HOROS_ROOT/build/packages.log
    {
        DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get update -q &&
            DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -q -y \
                --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "apt-get could not install the packages above (log: build/packages.log)"
    }
}

# build PRESET TARGET...: configures and builds; the log is shown only when something fails.
build() {
    local preset=$1 log=$HOROS_ROOT/build/$1.log
    shift
    mkdir -p "$HOROS_ROOT/build"
    status "building ($preset)"
    cmake --preset "$preset" >"$log" 2>&1 || {
        tail -n 40 "$log" >&2
        die "cannot configure (log: build/$preset.log)"
    }
    local targets=()
    (($#)) && targets=(--target "$@")
    if [[ -t 2 ]]; then # ninja keeps one line up to date on a terminal
        cmake --build --preset "$preset" -j "$jobs" "${targets[@]}" >&2 ||
            die "the build failed"
    else
        cmake --build --preset "$preset" -j "$jobs" "${targets[@]}" >>"$log" 2>&1 || {
            grep -nE -A12 'FAILED|error:' "$log" | tail -n 80 >&2
            die "the build failed (log: build/$preset.log)"
        }
    fi
}

# Kernel and initramfs of the Linux guests, in build/guest.
make_guest() {
    status "guest: Debian's kernel and a busybox initramfs"
    mkdir -p build/guest
    tools/guest/fetch-kernel build/guest || {
        [[ -s build/guest/vmlinuz ]] || die "there is no guest kernel"
        status "guest: no newer kernel to be had; using build/guest/vmlinuz"
    }
    local output=build/guest/initramfs.cpio.gz
    if [[ ! -s $output || -n $(find tools/guest "$(command -v busybox)" -newer $output) ]]; then
        tools/guest/make-initramfs $output
    fi
}

# pack DESCRIPTION OUTPUT: the boot bundle, from the `system` build.
pack() {
    status "packing $1"
    build/system/tools/pack/horos-pack build "$1" --files build/guest \
        --programs build/system/programs -o "$2" >&2
}
