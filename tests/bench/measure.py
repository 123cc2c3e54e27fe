"""What is read from the kernel and from bench-load: CPU seconds, memory, system calls, results of a load."""

import json
import os
import re
import signal
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")


class LoadFailed(Exception):
    """A load run had an error: its figures are worth nothing."""


def descendants(pid):
    """pid and all processes below it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(pids):
    """User and system seconds of these processes, threads that have ended included."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pids):
    """Resident, proportional and peak resident bytes. The peak is since the last call of reset_peak()."""
    sums = {"rss": 0, "pss": 0, "peak": 0}
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            text = f.read()
        with open(f"/proc/{pid}/status") as f:
            status = f.read()
        sums["rss"] += int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1]) * 1024
        sums["pss"] += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) * 1024
        sums["peak"] += int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) * 1024
    return sums


def reset_peak(pids):
    for pid in pids:
        with open(f"/proc/{pid}/clear_refs", "w") as f:
            f.write("5")


class Load:
    """bench-load as a background process; result() waits for it, stop() ends it early."""

    def __init__(self, program, scenario, url, options, nice=0):
        command = [program, scenario, url] + [str(o) for o in options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=(lambda: os.nice(nice)) if nice else None)
        self.command = " ".join(command)

    def wait_ready(self):
        line = self.process.stdout.readline()
        if line.strip() != "ready":
            raise LoadFailed(f"{self.command}: {line}{self.process.stderr.read()}")

    def result(self):
        out, err = self.process.communicate()
        if self.process.returncode != 0:
            raise LoadFailed(f"{self.command}: {err.strip() or out.strip()}")
        return json.loads(out)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.result()


def is_traced(pid):
    """All of its threads."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status") as f:
                if "TracerPid:\t0\n" in f.read():
                    return False
        except OSError:
            pass                    # it has ended
    return True


def strace_counts(pids, work):
    """Runs work() while strace counts the system calls of these processes; returns calls by name."""
    command = ["strace", "-c", "-f", "-q"]
    for pid in pids:
        command += ["-p", str(pid)]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(200):
            if all(is_traced(pid) for pid in pids) or tracer.poll() is not None:
                break
            time.sleep(0.01)
        work()
    finally:
        tracer.send_signal(signal.SIGINT)
        text = tracer.communicate()[1]
    counts = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3])
    if not counts:
        raise RuntimeError(f"strace counted nothing: {text.strip()[:200]}")
    return counts
