"""Orlop against itself: the same requests where the registry has nothing else to do, and beside collection, scrub and removal."""

import json
import signal
import subprocess
import time

import content
import measure
from benches import ACCEPT, Bench, loaded
from peers import connect

REPOSITORY, REMOVED = "collect/app", "collect/removed"
LAYERS, LAYER_BYTES = 64, 1 << 20               # two seconds of the scrub at its full rate
GARBAGE_BYTES = 20000                           # too large for the database: a file each
BEGIN_SECONDS = 20
PUTS_MAX = 100000                               # in the time that there is
ALONE = ("--scrub-period", "0", "--copy-interval", "0")


class Store:
    """One store for all sides, served by a daemon that each side starts with settings of its own."""

    def __init__(self, peer):
        self.peer = peer
        self.layers = [content.Blob(LAYER_BYTES) for _ in range(LAYERS)]

    def start(self, options):
        self.peer.options = options
        self.peer.start()

    def install(self):
        self.start(ALONE)
        connection = connect(self.peer.url)
        for layer in self.layers:
            content.push_blob(connection, REPOSITORY, layer)
        layers = [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size}
                  for layer in self.layers]
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": layers[0]["digest"], "size": layers[0]["size"]}
        manifest = {"schemaVersion": 2, "mediaType": content.MANIFEST_TYPE, "config": config, "layers": layers}
        content.request(connection, "PUT", f"/v2/{REPOSITORY}/manifests/v1", 201, json.dumps(manifest).encode(),
                        {"Content-Type": content.MANIFEST_TYPE})
        connection.close()
        self.peer.stop(keep=True)

    def fill(self, context, scenario, *options):
        """With a daemon that has nothing else to do."""
        self.start(ALONE)
        measure.Load(context.load, scenario, self.peer.url, options).result()
        self.peer.stop(keep=True)

    def command(self, *words):
        return [self.peer.program, *words, "--data", f"{self.peer.folder}/data"]

    def status(self):
        text = subprocess.run(self.command("status", "--json"), check=True, capture_output=True, text=True).stdout
        return {line["kind"]: line for line in map(json.loads, text.splitlines())}


class Side:
    """What the registry does beside the requests: nothing."""

    name, options = "alone", ALONE

    def __init__(self, store):
        self.store = store

    def prepare(self, context):
        """What there is to do, before each sample."""

    def begin(self):
        """With the daemon that has this side's options: returns when the work has begun."""

    def is_over(self):
        return False

    def end(self):
        pass

    def wait_until(self, begun):
        until = time.monotonic() + BEGIN_SECONDS
        while not begun(self.store.status()):
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name} did not begin")
            time.sleep(0.02)


class Collection(Side):
    """Blobs that nobody names: first they are reviewed, then their files go, and with them those of the samples before."""

    name, options = "collection", (*ALONE, "--gc-grace", "1s", "--gc-interval", "1s", "--gc-trash-delay", "1s")

    def prepare(self, context):
        self.store.fill(context, "push", "--bytes", GARBAGE_BYTES, "--clients", 32, "--count", context.size.garbage,
                        "--repository", "collect/garbage")

    def begin(self):
        self.wait_until(lambda status: status["jobs"]["freed"]["blobs"] > 0)

    def is_over(self):
        return self.store.status()["store"]["waiting_files"]["count"] == 0


class Scrub(Side):
    """All that is stored, again and again, as fast as --scrub-rate allows."""

    name, options = "scrub", ("--scrub-period", "1s", "--copy-interval", "0")

    def begin(self):
        self.wait_until(lambda status: status["jobs"]["scrubbed_bytes"] > 0)


class Removal(Side):
    """`orlop rm` of a repository with many manifests."""

    name = "removal"
    process = None

    def prepare(self, context):
        self.store.fill(context, "seed", "--clients", 64, "--repository", REMOVED, "--tags", context.size.removed)

    def begin(self):
        self.process = subprocess.Popen(self.store.command("rm", REMOVED), stdout=subprocess.DEVNULL)

    def is_over(self):
        return self.process.poll() is not None

    def end(self):
        self.process.terminate()
        if self.process.wait() not in (0, -signal.SIGTERM):
            raise RuntimeError("orlop rm failed")


def sample(context, bench, side, _transport):
    """A figure is worth something where the side was at work for all of the load; the short form has too little to do for that."""
    peer = side.store.peer
    try:
        side.prepare(context)
        side.store.start(side.options)
        side.begin()
        taken = bench.run(context, side.store)
        if not context.short and side.is_over():
            raise RuntimeError(f"{side.name} was over before the requests were")
        side.end()
        return taken
    finally:
        peer.stop(keep=True)


def manifest_get(context, store):
    taken = loaded(context, store.peer, "get", "--path", f"/v2/{REPOSITORY}/manifests/v1", "--header", ACCEPT, "--clients", 16,
                   "--seconds", context.size.beside_seconds)
    taken["value"] = taken["rate"]
    return taken


def manifest_put(context, store):
    context.pushed += 1
    taken = loaded(context, store.peer, "seed", "--repository", "collect/pushed", "--tags", PUTS_MAX, "--first",
                   context.pushed * PUTS_MAX, "--clients", 1, "--seconds", context.size.beside_seconds)
    taken["value"] = taken["rate"]
    return taken


def blob_get(context, store):
    path = f"{context.scratch}/paths"
    with open(path, "w") as f:
        f.write("\n".join(f"/v2/{REPOSITORY}/blobs/{layer.digest}" for layer in store.layers))
    taken = loaded(context, store.peer, "get", "--paths", path, "--clients", 4, "--body-bytes", LAYER_BYTES,
                   "--seconds", context.size.beside_seconds, per="GB")
    taken["value"] = taken["bytes"] / taken["seconds"] / 1e6
    return taken


def collect_benches():
    return [
        Bench("collect-get", "manifest GET beside the registry's own work, 16 clients", "requests/s", manifest_get, cpu_per="request",
              transports=("plain",)),
        Bench("collect-put", "manifest PUT beside the registry's own work, 1 client", "requests/s", manifest_put, cpu_per="request",
              transports=("plain",)),
        Bench("collect-blob", "GET of 1 MiB beside the registry's own work, 4 clients", "MB/s", blob_get, cpu_per="GB",
              transports=("plain",)),
    ]


def open_sides(store):
    store.install()
    return [kind(store) for kind in (Side, Collection, Scrub, Removal)]
