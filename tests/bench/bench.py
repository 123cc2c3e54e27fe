#!/usr/bin/env python3
"""./dev bench: measures Orlop side by side with other servers, in turn, and writes the table. See docs/performance.md."""

import argparse
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import benches
import collect
import content
import measure
import peers
import report
import scale


@dataclasses.dataclass
class Size:
    """How much is done: full() for figures, short() to see that it works."""
    seconds: float
    large_bytes: int
    pulls: int
    push_bytes: int
    pushes: int
    tags: int
    idle: int
    at_once: int
    at_once_bytes: int
    at_once_seconds: float
    slow: int
    scale_small: int
    scale_repositories: int
    scale_tags: int
    scale_many: int
    scale_referrers: int
    puts: int
    garbage: int
    removed: int
    beside_seconds: float
    rounds: int = 0                 # 0: each bench's own


FULL = Size(seconds=3, large_bytes=512 << 20, pulls=12, push_bytes=512 << 20, pushes=2, tags=3000, idle=1000, at_once=64,
            at_once_bytes=1 << 30, at_once_seconds=15, slow=200, scale_small=200, scale_repositories=10000, scale_tags=100,
            scale_many=100000, scale_referrers=100, puts=800, garbage=1000,
            removed=24000, beside_seconds=1)
SHORT = Size(seconds=0.2, large_bytes=4 << 20, pulls=4, push_bytes=4 << 20, pushes=1, tags=30, idle=20, at_once=4, at_once_bytes=16 << 20,
             at_once_seconds=0.5, slow=4, scale_small=3, scale_repositories=5, scale_tags=10, scale_many=200, scale_referrers=5, puts=20,
             garbage=30, removed=50, beside_seconds=0.2, rounds=1)


KEPT = "build/bench.json"


class Context:
    def __init__(self, args, scratch):
        self.load, self.scratch, self.store = args.load, scratch, args.store
        self.short = args.short
        self.size = SHORT if self.short else FULL
        if args.rounds:
            self.size.rounds = args.rounds
        self.image = None
        self.pushed, self.tagged = 0, {}
        self.began, self.steps, self.done = time.monotonic(), 1, 0

    def say(self, text):
        passed = time.monotonic() - self.began
        left = passed / self.done * (self.steps - self.done) if self.done else 0
        eta = f", about {left / 60:.0f} min left" if self.done and left > 60 else ""
        print(f"[{self.done:3}/{self.steps}{eta}] {text}", file=sys.stderr, flush=True)

    def rounds(self, bench):
        return self.size.rounds or bench.rounds


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measures Orlop beside other servers, in turn.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benches to run, or the beginnings of their names; all without")
    parser.add_argument("--list", action="store_true", help="list the benches")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=URL", help="compare with this running registry too")
    parser.add_argument("--without", action="append", default=[], metavar="PEER", help="leave out orlop, nginx, docker-registry or floor")
    parser.add_argument("--transport", choices=("plain", "tls"), help="only this one")
    parser.add_argument("--short", action="store_true", help="see that all works, in a minute; the figures mean nothing")
    parser.add_argument("--rounds", type=int, help="turns of each peer")
    parser.add_argument("--port", type=int, default=24100, help="first of ten ports on loopback")
    parser.add_argument("--scratch", help="folder for the servers' data (default: a temporary one)")
    parser.add_argument("--store", help="folder that keeps the seeded large store between runs")
    parser.add_argument("--results", help=f"where results are kept, those of other benches included (default: {KEPT})")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md's table and pictures from all kept results")
    parser.add_argument("--orlop", default="build/orlop", help="the daemon's program")
    parser.add_argument("--load", default="build/tests/bench/bench-load", help="the load generator's program")
    parser.add_argument("--floor", default="build/tests/bench/bench-floor", help="the program of the floor")
    return parser.parse_args()


def chosen(all_benches, names):
    for name in names:
        if not any(bench.name.startswith(name) for bench in all_benches):
            sys.exit(f'./dev bench: no bench "{name}"; see ./dev bench --list')
    return [bench for bench in all_benches if not names or any(bench.name.startswith(name) for name in names)]


def make_peers(args, scratch):
    made = [peers.Orlop("orlop", scratch, args.port, args.orlop), peers.Nginx("nginx", scratch, args.port + 1),
            peers.DockerRegistry("docker-registry", scratch, args.port + 2), peers.Floor("floor", scratch, args.port + 5, args.floor)]
    for text in args.peer:
        name, mark, url = text.partition("=")
        if not mark or not url.startswith(("http://", "https://")):
            sys.exit(f"./dev bench: --peer {text}: NAME=URL is needed")
        made.append(peers.Running(name, url))
    kept = [peer for peer in made if peer.name not in args.without]
    for peer, program in (("nginx", "/usr/sbin/nginx"), ("docker-registry", shutil.which("docker-registry"))):
        if not program or not os.path.exists(program):
            print(f"{peer} is not installed: left out", file=sys.stderr)
            kept = [other for other in kept if other.name != peer]
    return kept


def for_bench(bench, running, transport):
    """The peers that a bench is for."""
    def fits(peer):
        if isinstance(peer, peers.Running) and (bench.fresh or peer.tls != (transport == "tls")):
            return False
        if isinstance(peer, peers.Floor):
            return bench.floor
        return peer.pushes or not bench.pushes
    return [peer for peer in running if fits(peer)]


def fresh_sample(context, bench, peer, transport):
    peer.stop()
    peer.start(transport == "tls")
    try:
        return bench.run(context, peer)
    finally:
        peer.stop()


def measure_bench(context, bench, sides, transport, sampler):
    """Takes turns; returns the medians of each side."""
    samples = {name: [] for name in sides}
    for turn in range(context.rounds(bench)):
        for name, side in sides.items():
            sample = sampler(context, bench, side, transport)
            samples[name].append(sample)
            context.done += 1
            context.say(f"{bench.name} {transport}, round {turn + 1} of {context.rounds(bench)}, {name}: "
                        f"{report.number(sample['value'])} {bench.unit}")
    return {name: medians(taken) for name, taken in samples.items()}


def medians(samples):
    result = {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}
    result["values"] = [sample["value"] for sample in samples]
    return result


def add_system_calls(context, bench, sides, medians_of):
    for name, peer in sides.items():
        if not peer.pids():
            continue
        count = min(bench.strace, 200) if context.size is SHORT else bench.strace
        calls = measure.strace_counts(peer.pids(), lambda: bench.run(context, peer, count=count))
        medians_of[name]["calls"] = sum(calls.values()) / count
        medians_of[name]["calls_by_name"] = {call: n / count for call, n in calls.items() if n >= count / 20}


def run_transport(context, selected, all_peers, transport, results):
    """All benches of one transport: the servers run together, one is busy at a time; those with fresh=True come last."""
    shared = [b for b in selected if transport in b.transports and not b.fresh]
    if shared:
        run_shared(context, shared, all_peers, transport, results)
    for bench in selected:
        if transport in bench.transports and bench.fresh:
            sides = {peer.name: peer for peer in for_bench(bench, all_peers, transport)}
            results.add(bench, transport, measure_bench(context, bench, sides, transport,
                                                        lambda c, b, peer, t: fresh_sample(c, b, peer, t)))


def run_shared(context, shared, all_peers, transport, results):
    running = [p for p in all_peers if not isinstance(p, peers.Running) or p.tls == (transport == "tls")]
    context.tagged = {}
    try:
        for peer in running:
            context.say(f"{peer.name}: starting, {transport}")
            peer.start(transport == "tls")
            context.image.install(peer)
        for bench in shared:
            sides = {peer.name: peer for peer in for_bench(bench, running, transport)}
            taken = measure_bench(context, bench, sides, transport, lambda c, b, peer, t: b.run(c, peer))
            if bench.strace:
                add_system_calls(context, bench, sides, taken)
            results.add(bench, transport, taken)
    finally:
        for peer in running:
            peer.stop()


def run_scale(context, selected, args, results):
    def make_peer(name, folder):
        peer = peers.Orlop(name, context.scratch, args.port + 3 + (name == "large"), args.orlop)
        peer.folder = folder or peer.folder
        return peer

    stores = ()
    try:
        stores = scale.open_stores(context, make_peer)
        sides = {store.peer.name: store for store in stores}
        for bench in selected:
            results.add(bench, "plain", measure_bench(context, bench, sides, "plain", lambda c, b, store, t: b.run(c, store)))
        taken = {}
        for store in stores:
            memory = measure.memory(store.peer.pids())
            store.peer.stop(keep=True)
            store.peer.start()
            taken[store.peer.name] = {"value": store.peer.ready_ms, "values": [store.peer.ready_ms], **memory}
        results.add(benches.Bench("scale-start", "ready after (memory: after the requests above)", "ms", None, lower=True), "plain", taken)
    finally:
        for store in stores:
            store.peer.stop(keep=context.store is not None and store.peer.name == "large")


def run_collect(context, selected, args, results):
    store = collect.Store(peers.Orlop("collect", context.scratch, args.port + 6, args.orlop))
    try:
        context.say("filling a store to collect, scrub and remove from")
        sides = {side.name: side for side in collect.open_sides(store)}
        for bench in selected:
            results.add(bench, "plain", measure_bench(context, bench, sides, "plain", collect.sample))
    finally:
        store.peer.stop()


def stripped_bytes(program):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["strip", "-o", f"{folder}/stripped", program], check=True)
        return os.path.getsize(f"{folder}/stripped")


def measure_size(args, results):
    programs = {"orlop": args.orlop, "docker-registry": shutil.which("docker-registry")}
    results.add(benches.Bench("size", "stripped program", "MB", None, lower=True), "-",
                {name: {"value": stripped_bytes(program) / 1e6} for name, program in programs.items() if program})


def measure_build(results):
    """What ./dev build does in a fresh clone."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run(["meson", "setup", folder, "-Db_lto=true"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["ninja", "-C", folder], check=True, stdout=subprocess.DEVNULL)
        results.add(benches.Bench("build", "cold build", "s", None, lower=True), "-", {"orlop": {"value": time.monotonic() - began}})


def measure_program(args, results):
    """Only where it is asked for by name, or all is."""
    if not args.names or "size" in args.names:
        measure_size(args, results)
    if not args.short and (not args.names or "build" in args.names):
        measure_build(results)


def count_steps(context, selected, all_peers, transports):
    ordinary, scaled, beside = selected
    steps = sum(context.rounds(b) * len(for_bench(b, all_peers, t)) for b in ordinary for t in transports if t in b.transports)
    return max(1, steps + sum(context.rounds(b) * 2 for b in scaled) + sum(context.rounds(b) * 4 for b in beside))


def run_all(args, scratch, results):
    context = Context(args, scratch)
    all_peers = make_peers(args, scratch)
    transports = [args.transport] if args.transport else ["plain", "tls"]
    ordinary, scaled, beside = select(args)
    if "plain" not in transports or not any(peer.name == "orlop" for peer in all_peers):
        scaled = beside = []
    context.steps = count_steps(context, (ordinary, scaled, beside), all_peers, transports)
    context.image = content.Image(context.size.large_bytes)
    for transport in transports:
        run_transport(context, ordinary, all_peers, transport, results)
    if scaled:
        run_scale(context, scaled, args, results)
    if beside:
        run_collect(context, beside, args, results)
    if "orlop" not in args.without:
        measure_program(args, results)


def every_bench():
    """Of servers beside each other, of stores of two sizes, of Orlop beside its own work."""
    return benches.all_benches(), scale.scale_benches(), collect.collect_benches()


def select(args):
    kinds = every_bench()
    names = [name for name in args.names if name not in ("size", "build")]
    if args.names and not names:
        return [], [], []
    selected = chosen(sum(kinds, []), names)
    return tuple([bench for bench in kind if bench in selected] for kind in kinds)


def main():
    args = parse()
    if args.list:
        for bench in sum(every_bench(), []):
            print(f"{bench.name:22} {bench.title} ({bench.unit})")
        print(f"{'size':22} the stripped program (MB)")
        print(f"{'build':22} a cold build (s)")
        return
    scratch = args.scratch or tempfile.mkdtemp(prefix="orlop-bench-")
    results = report.Results(args.results or ("" if args.short else KEPT), args.short)
    try:
        run_all(args, scratch, results)
        if args.docs and not args.short:
            report.write_docs(results.kept)
    except (measure.LoadFailed, RuntimeError) as failure:
        sys.exit(f"./dev bench: {failure}")
    finally:
        print(report.text_table(results.new))           # what was measured before a failure, too
        if not args.scratch:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
