# ./horos image

image_usage() {
    cat <<'HELP'
usage: ./horos image [--description FILE] [--output FILE]

Makes one ISO image that boots Horos and the described system on BIOS and on UEFI machines, from a
CD or, written as it is, from a USB stick.

  --description FILE  system description (default: descriptions/demo.toml)
  --output FILE       image to write (default: build/horos.iso)
HELP
}

main() {
    local output=build/horos.iso
    description=descriptions/demo.toml
    while (($#)); do
        case $1 in
        --help | -h)
            image_usage
            exit 0
            ;;
        --description)
            need_value "$1" $#
            [[ -f $2 ]] || die "there is no description '$2'"
            description=$2
            shift 2
            ;;
        --output)
            need_value "$1" $#
            output=$2
            shift 2
            ;;
        *) misuse "unknown option '$1'" ;;
        esac
    done
    install_packages build boot image
    build system horos-kernel horos-pack programs
    make_guest
    mkdir -p build/image
    pack "$description" build/image/horos.bundle || exit 1
    status "writing $output"
    tools/horos/make-iso build/system/horos-kernel build/image/horos.bundle "$output" ||
        die "the image could not be written"
    status "$output: $(($(stat -c %s "$output") / 1048576)) MiB, for BIOS and UEFI"
}
