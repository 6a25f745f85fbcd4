# ./horos fmt

fmt_usage() {
    cat <<'HELP'
usage: ./horos fmt [--check]

Formats the C++ sources with clang-format 19.

  --check  change nothing; name the files that are not formatted and fail
HELP
}

main() {
    local check=
    while (($#)); do
        case $1 in
        --help | -h)
            fmt_usage
            exit 0
            ;;
        --check)
            check=yes
            shift
            ;;
        *) misuse "unknown option '$1'" ;;
        esac
    done
    command -v clang-format-19 >/dev/null || install_packages test
    local files
    mapfile -t files < <(git ls-files '*.cpp' '*.hpp')
    if [[ -z $check ]]; then
        printf '%s\0' "${files[@]}" | xargs -0 -n 50 clang-format-19 -i
        status "formatted ${#files[@]} files"
        return
    fi
    local bad=0 file
    for file in "${files[@]}"; do
        if ! clang-format-19 "$file" | cmp -s - "$file"; then
            echo "$file"
            bad=$((bad + 1))
        fi
    done
    ((bad == 0)) || die "$bad of ${#files[@]} files are not formatted; run ./horos fmt"
    status "${#files[@]} files are formatted"
}
