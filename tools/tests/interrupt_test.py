#!/usr/bin/env python3
"""Ends the booting part of ./horos run in every way a user can, and looks for what is left.

Usage: interrupt_test.py BUILD_DIRECTORY GUEST_FILES
"""
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time

BOOT = """set -euo pipefail
HOROS_ROOT=$PWD; command=run
source tools/horos/common.sh; source tools/horos/run.sh
smp=2; memory=1200; timeout=%s; code=0
boot "$BUNDLE" || code=$?
exit $code"""


def descendants(pid):
    rows = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in rows.stdout.splitlines()]
    found, todo = [], [str(pid)]
    while todo:
        parent = todo.pop()
        for child in (p for p, pp in pairs if pp == parent):
            found.append(child)
            todo.append(child)
    return found


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def by_signal(number, limit, expected):
    process = subprocess.Popen(["bash", "-c", BOOT % limit], stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(5)
    started = descendants(process.pid)
    process.send_signal(number)
    code = process.wait(timeout=30)
    time.sleep(1)
    left = [pid for pid in started if alive(pid)]
    good = bool(started) and not left and code == expected
    print(f"{number.name} with limit '{limit}': status {code}, {len(started)} started, "
          f"{len(left)} left: {'good' if good else 'BAD'}")
    return good


def by_keys():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "-c", BOOT % ""])
    time.sleep(5)
    started = descendants(pid)
    os.write(terminal, b"\x01x")  # Ctrl-A X
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        pass
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = [child for child in started if alive(child)]
    good = bool(started) and not left and code == 0
    print(f"Ctrl-A X: status {code}, {len(left)} left: {'good' if good else 'BAD'}")
    return good


def main():
    build, guest = (os.path.abspath(path) for path in sys.argv[1:3])
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    if not os.path.exists(f"{build}/horos-kernel") or not os.path.exists(f"{guest}/vmlinuz"):
        print("skipped: no kernel or no guest in this build")
        return 77
    os.makedirs("build/run", exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ["BUNDLE"] = f"{work}/bundle"
        os.environ["HOROS_BUILT"] = build
        subprocess.run([f"{build}/tools/pack/horos-pack", "build", "descriptions/linux.toml",
                        "--files", guest, "--programs", f"{build}/programs",
                        "-o", os.environ["BUNDLE"]], check=True)
        results = [by_signal(signal.SIGINT, "", 130), by_signal(signal.SIGTERM, "", 143),
                   by_signal(signal.SIGHUP, "60", 143), by_keys()]
    return 0 if all(results) else 1


sys.exit(main())
