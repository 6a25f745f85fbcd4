#!/usr/bin/env bash
# docs/assurance.md is of the bitcode that is built here, and says that each theorem is proved which
# proofs/open.txt does not name. After a change of kernel, spec or theorems: ./horos prove --assurance
# usage: assurance.sh HOROS-PROVE CORE.BC SPEC.BC SOURCE-DIR [ASSURANCE.MD]
set -euo pipefail
"$1" --list | python3 -c '
import hashlib, pathlib, re, sys
core, spec, source, *other = sys.argv[1:]
paper = pathlib.Path(other[0] if other else source + "/docs/assurance.md").read_text()
wrong = []
for name, path in (("core.bc", core), ("spec.bc", spec)):
    found = re.search(rf"^\| {re.escape(name)} \| `([0-9a-f]+)` \|$", paper, re.M)
    real = hashlib.sha1(pathlib.Path(path).read_bytes()).hexdigest()
    if found is None or found[1] != real:
        wrong.append(f"it is of another {name} than this one, {real}")
lines = pathlib.Path(source, "proofs/open.txt").read_text().splitlines()
is_open = {l.split("#")[0].strip() for l in lines}
verdicts = dict(re.findall(r"^\| (\S+/\S+) \| (\w+) \|", paper, re.M))
theorems = [l.split()[0] for l in sys.stdin]
assert len(theorems) > 500, "--list names too few theorems"
for theorem in theorems:
    if theorem not in is_open and verdicts.get(theorem) != "proved":
        verdict = verdicts.get(theorem, "not in it")
        wrong.append(f"{theorem} is {verdict}")
for theorem in sorted(set(verdicts) - set(theorems)):
    wrong.append(f"{theorem} is no theorem any more")
for line in wrong[:20]:
    print("docs/assurance.md:", line)
sys.exit("run ./horos prove --assurance" if wrong else 0)
' "${@:2}"
