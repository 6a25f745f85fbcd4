#!/usr/bin/env bash
# The forms of the prover's report say the same, and a repeat proves nothing again.
# usage: report.sh HOROS-PROVE SOURCE-DIR
set -euo pipefail
prove=$1
source=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
run() {
    "$prove" --only safety/frame_info,refinement/frame_info,pages/cap_info --cache "$dir/cache" \
        --json "$dir/report.json" --html "$dir/report.html" --assurance "$dir/report.md" \
        --preface "$source/proofs/assurance.md" >"$dir/report.txt"
}
run
python3 - "$dir" "$source" <<'PYTHON'
import html, json, pathlib, sys
folder, source = map(pathlib.Path, sys.argv[1:3])
text, page, paper = ((folder / f'report.{e}').read_text() for e in ('txt', 'html', 'md'))
page = html.unescape(page)
report = json.loads((folder / 'report.json').read_text())
assert len(report['theorems']) == 3 and report['proved'] == 3 and report['cached'] == 0
assert {g['name'] for g in report['properties']} == {'safety', 'refinement', 'pages'}
for kind in ('core_bitcode', 'spec_bitcode', 'image'):
    for form in (text, page, paper):
        assert report[kind] in form, kind
for theorem in report['theorems']:
    for form in (text, page, paper):
        assert theorem['name'] in form and f"{theorem['seconds']:.1f}" in form, theorem['name']
for group in report['properties']:
    for words in ('says', 'means', 'bounds', 'rests_on', 'does_not_say'):
        assert group[words] and group[words] in page and group[words] in paper, (group, words)
for form in (text, page, paper):
    assert report['slowest'] in form and report['largest'] in form
assert (source / 'proofs/assurance.md').read_text() in paper
PYTHON
run
grep -q '3 kept from earlier' "$dir/report.txt"
# What was kept is read, not made up: a result that is gone is proved again.
rm "$dir"/cache/safety_frame_info-*
run
grep -q '2 kept from earlier' "$dir/report.txt"
# Where nothing can be kept, that is said before anything is proved.
touch "$dir/file"
if "$prove" --only safety/frame_info --cache "$dir/file" >"$dir/refused.txt" 2>&1; then exit 1; fi
grep -q "results cannot be kept in $dir/file" "$dir/refused.txt"
