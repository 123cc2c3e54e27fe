"""What is measured. Each bench runs one peer once and returns a sample; the driver takes turns and medians.

A sample is a dictionary: value (in the bench's unit), and where they are known p50_us, p99_us, max_us, cpu (the server's seconds for one
`cpu_per`), load_cpu (bench-load's share of the machine), and memory fields in bytes.
"""

import dataclasses
import os
import tempfile
import time
import typing

import content
import measure

ACCEPT = "Accept: " + content.MANIFEST_TYPE


@dataclasses.dataclass
class Bench:
    name: str
    title: str
    unit: str                       # of the value
    run: typing.Callable            # (context, peer) -> sample
    cpu_per: str = ""               # request, GB or image
    lower: bool = False             # a lower value is better
    pushes: bool = False            # only for peers that take pushes
    floor: bool = False             # the floor server can do it
    transports: tuple = ("plain", "tls")
    fresh: bool = False             # each sample from a server just started on an empty folder
    strace: int = 0                 # how many operations to count system calls for
    rounds: int = 3


def loaded(context, peer, scenario, *options, per=1.0, nice=0):
    """One run of bench-load with the server's CPU around it. per: what an operation counts in the bench's cpu_per."""
    pids = peer.pids()
    before = measure.cpu_seconds(pids)
    result = measure.Load(context.load, scenario, peer.url, options, nice).result()
    sample = {key: result[key] for key in ("p50_us", "p99_us", "max_us", "count", "bytes", "seconds", "rate")}
    sample["load_cpu"] = result["cpu_seconds"] / max(result["seconds"], 1e-9)
    if pids:
        cpu = measure.cpu_seconds(peer.pids()) - before
        sample["cpu"] = cpu / (result["bytes"] / 1e9 if per == "GB" else max(result["count"], 1))
        sample["pss"] = measure.memory(peer.pids())["pss"]
    return sample


# --- Small requests ---------------------------------------------------------------------------------------------------


def small(path_of, *options):
    def run(context, peer, count=None):
        amount = ("--count", count) if count else ("--seconds", context.size.seconds)
        sample = loaded(context, peer, "get", "--path", path_of(context.image), "--clients", 16, *amount, *options)
        sample["value"] = sample["rate"]
        return sample
    return run


def small_benches():
    by_tag = lambda image: image.by_tag
    by_digest = lambda image: image.by_digest
    small_blob = lambda image: image.blob_path(image.small)
    middling_blob = lambda image: image.blob_path(image.middling)
    rows = [
        ("v2", "GET /v2/", lambda image: "/v2/", ()),
        ("manifest-get-tag", "manifest GET by tag", by_tag, ("--header", ACCEPT)),
        ("manifest-get-digest", "manifest GET by digest", by_digest, ("--header", ACCEPT)),
        ("manifest-head-tag", "manifest HEAD by tag", by_tag, ("--header", ACCEPT, "--method", "HEAD")),
        ("manifest-head-digest", "manifest HEAD by digest", by_digest, ("--header", ACCEPT, "--method", "HEAD")),
        ("blob-head", "blob HEAD", small_blob, ("--method", "HEAD")),
        ("blob-get-4k", "blob GET of 4 KiB", small_blob, ("--body-bytes", 4096)),
        ("blob-get-64k", "blob GET of 64 KiB", middling_blob, ("--body-bytes", 65536)),
    ]
    return [Bench(name, title, "requests/s", small(path, *options), cpu_per="request", strace=2000, floor=path is not middling_blob)
            for name, title, path, options in rows]


# --- Large blobs ------------------------------------------------------------------------------------------------------


def pull(header_of=None, status=200, bytes_of=None):
    def run(context, peer):
        image, options = context.image, []
        if header_of:
            options += ["--header", header_of(image.large.size)]
        if bytes_of:
            options += ["--body-bytes", bytes_of(image.large.size)]
        sample = loaded(context, peer, "get", "--path", image.blob_path(image.large), "--clients", 4, "--count", context.size.pulls,
                        "--status", status, *options, per="GB")
        sample["value"] = sample["bytes"] / sample["seconds"] / 1e6
        return sample
    return run


def many_ranges(size, count=32, each=65536):
    """Ranges as a client of zstd:chunked or estargz asks for: pieces all over the blob."""
    each = min(each, size // (2 * count))
    return "Range: bytes=" + ",".join(f"{at}-{at + each - 1}" for at in range(0, size - each, size // count))


def have_memory(context, n):
    """A virtual machine may have given memory back to its host, and whoever writes first pays for getting it: not the server."""
    piece = bytes(1 << 20)
    with tempfile.TemporaryFile(dir=context.scratch) as file:
        for _ in range(0, n, len(piece)):
            file.write(piece)


def push(streamed):
    def run(context, peer):
        options = ["--bytes", context.size.push_bytes, "--clients", 1, "--count", context.size.pushes]
        os.sync()
        have_memory(context, 2 * context.size.push_bytes * context.size.pushes)
        sample = loaded(context, peer, "push", *options, *(["--streamed"] if streamed else []), per="GB")
        sample["value"] = sample["bytes"] / sample["seconds"] / 1e6
        return sample
    return run


def ranges_run(context, peer):
    image = context.image
    sample = loaded(context, peer, "get", "--path", image.blob_path(image.large), "--clients", 4, "--seconds", context.size.seconds,
                    "--status", 206, "--header", many_ranges(image.large.size), per="GB")
    sample["value"] = sample["bytes"] / sample["seconds"] / 1e6
    return sample


def large_benches():
    half = lambda size: f"Range: bytes={size // 2}-"
    return [
        Bench("pull", "pull of a large blob, 4 clients", "MB/s", pull(bytes_of=lambda size: size), cpu_per="GB"),
        Bench("pull-resumed", "pull resumed at its half, 4 clients", "MB/s",
              pull(half, 206, lambda size: size - size // 2), cpu_per="GB"),
        Bench("pull-ranges", "pull of 32 ranges of 64 KiB a request, 4 clients", "MB/s", ranges_run, cpu_per="GB"),
        Bench("push-patch", "push of a large blob by a streamed PATCH", "MB/s", push(True), cpu_per="GB", pushes=True),
        Bench("push-put", "push of a large blob by one PUT", "MB/s", push(False), cpu_per="GB", pushes=True, floor=True),
    ]


# --- Small images and tags --------------------------------------------------------------------------------------------


def images(clients):
    def run(context, peer, count=None):
        context.pushed += 1         # a repository of their own for each run
        os.sync()                   # what others left to write is not this one's to wait for
        amount = ("--count", count) if count else ("--seconds", context.size.seconds)
        sample = loaded(context, peer, "image", "--repository", f"bench/images{context.pushed}", "--repositories", clients,
                        "--clients", clients, *amount)
        sample["value"] = sample["rate"]
        return sample
    return run


def tags_put(context, peer):
    """Manifest PUTs into one repository; the sample is of the last tenth."""
    context.pushed += 1
    os.sync()
    name, tags = f"bench/tags{context.pushed}", context.size.tags
    options = ["--repository", name, "--clients", 1]
    loaded(context, peer, "seed", "--tags", tags - tags // 10, *options)
    sample = loaded(context, peer, "seed", "--tags", tags // 10, "--first", tags - tags // 10, *options)
    sample["value"] = sample["p50_us"] / 1000
    context.tagged[peer.name] = name
    return sample


def tags_page(context, peer):
    if peer.name not in context.tagged:
        tags_put(context, peer)
    path = f"/v2/{context.tagged[peer.name]}/tags/list?n=100"
    sample = loaded(context, peer, "get", "--path", path, "--clients", 1, "--seconds", context.size.seconds)
    sample["value"] = sample["p50_us"] / 1000
    return sample


def image_benches():
    return [Bench(f"image-{n}", f"small images pushed, {n} client{'s' if n > 1 else ''}", "images/s", images(n), cpu_per="image",
                  pushes=True, strace=50 if n == 8 else 0) for n in (1, 8, 64)] + [
        Bench("tags-put", "manifest PUT into a repository of 3,000 tags, last tenth", "ms", tags_put, cpu_per="request", lower=True,
              pushes=True, transports=("plain",), rounds=1),
        Bench("tags-page", "page of 100 of 3,000 tags", "ms", tags_page, cpu_per="request", lower=True, pushes=True,
              transports=("plain",)),
    ]


# --- Memory, fairness, start ------------------------------------------------------------------------------------------


def start(context, peer):
    """The peer was just started on an empty folder."""
    sample = {"value": peer.ready_ms}
    if peer.pids():
        time.sleep(0.5)
        sample.update(measure.memory(peer.pids()))
    return sample


def idle(context, peer):
    load = measure.Load(context.load, "idle", peer.url, ["--clients", context.size.idle, "--threads", 1])
    load.wait_ready()
    time.sleep(0.3)
    memory = measure.memory(peer.pids())
    load.stop()
    return {"value": memory["pss"] / 1e6, **memory}


def pushes_at_once(context, peer):
    """Memory while many large pushes run; they are broken off after some seconds."""
    pids = peer.pids()
    measure.reset_peak(pids)
    load = measure.Load(context.load, "push", peer.url, ["--bytes", context.size.at_once_bytes, "--clients", context.size.at_once,
                                                         "--repositories", context.size.at_once, "--streamed", "--seconds", 3600])
    time.sleep(context.size.at_once_seconds)
    memory = measure.memory(peer.pids())
    load.stop()
    return {"value": memory["peak"] / 1e6, **memory}


def fairness(context, peer):
    """One client's manifest GETs while large transfers use the machine. It is given priority over them, where that is allowed, so
    that what is measured is how long the server lets it wait and not how long the scheduler does."""
    large = context.image.blob_path(context.image.large)
    push_load = measure.Load(context.load, "push", peer.url, ["--bytes", context.size.push_bytes, "--clients", 4, "--streamed",
                                                              "--threads", 1, "--seconds", 3600])
    pull_load = measure.Load(context.load, "get", peer.url, ["--path", large, "--clients", 4, "--threads", 1, "--seconds", 3600])
    time.sleep(min(1, context.size.seconds))
    try:
        sample = loaded(context, peer, "get", "--path", context.image.by_tag, "--header", ACCEPT, "--clients", 1, "--threads", 1,
                        "--seconds", context.size.seconds, nice=-10 if os.geteuid() == 0 else 0)
    finally:
        push_load.stop()
        pull_load.stop()
    del sample["cpu"]               # the transfers' as well
    sample["value"] = sample["p99_us"] / 1000
    return sample


def slow(context, peer):
    """What slow clients cost the others."""
    slow_load = measure.Load(context.load, "slow", peer.url, ["--clients", context.size.slow, "--path",
                                                             context.image.blob_path(context.image.large)])
    slow_load.wait_ready()
    try:
        sample = small(lambda image: image.by_tag, "--header", ACCEPT)(context, peer)
    finally:
        slow_load.stop()
    return sample


def memory_benches():
    return [
        Bench("start", "ready after", "ms", start, lower=True, fresh=True, rounds=5),
        Bench("idle-connections", "memory with 1,000 idle connections", "MB", idle, lower=True, fresh=True, rounds=1),
        Bench("pushes-at-once", "memory with 64 pushes of 1 GB at once", "MB", pushes_at_once, lower=True, pushes=True, fresh=True,
              rounds=1),
        Bench("fairness", "manifest GET while 4 large pushes and 4 large pulls run, p99", "ms", fairness, lower=True, pushes=True),
        Bench("slow-clients", "manifest GET beside 200 slow clients", "requests/s", slow, cpu_per="request", pushes=True),
    ]


def all_benches():
    return small_benches() + large_benches() + image_benches() + memory_benches()
