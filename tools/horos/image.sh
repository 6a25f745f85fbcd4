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

# The directory that becomes the ISO's file system.
fill_tree() {
    local tree=$1
    rm -rf "$tree"
    mkdir -p "$tree/boot/grub"
    cp build/system/horos-kernel "$tree/boot/horos-kernel"
    pack "$description" "$tree/boot/horos.bundle" || exit 1
    cp tools/horos/grub.cfg "$tree/boot/grub/grub.cfg"
}

main() {
    local output=build/horos.iso tree=build/image
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
    fill_tree $tree
    status "writing $output"
    # grub-mkrescue puts a GRUB for each firmware that is installed into one hybrid image.
    local log=build/image.log
    grub-mkrescue --compress=xz -o "$output.new" $tree >$log 2>&1 || {
        tail -n 20 $log >&2
        die "grub-mkrescue failed (log: $log)"
    }
    mv "$output.new" "$output"
    status "$output: $(($(stat -c %s "$output") / 1048576)) MiB, for BIOS and UEFI"
}
