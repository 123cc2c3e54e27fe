"""Orlop against itself: the same requests on a small store and on one with a million tags, in turn."""

import json
import os
import random

import content
import measure
from benches import ACCEPT, Bench, loaded
from peers import connect

CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


class Store:
    """What was seeded, so that requests can be made up."""

    def __init__(self, peer, repositories, tags, many, referrers):
        self.peer, self.repositories, self.tags, self.many, self.referrers = peer, repositories, tags, many, referrers
        self.subject = None

    def seed(self, context):
        load = lambda *options: measure.Load(context.load, "seed", self.peer.url, ["--clients", 64, *options]).result()
        load("--repository", "scale", "--repositories", self.repositories, "--tags", self.tags)
        load("--repository", "many", "--tags", self.many)
        connection = connect(self.peer.url)
        answer, _ = content.request(connection, "HEAD", "/v2/many/manifests/t0000000", 200)
        connection.close()
        self.subject = answer.headers["Docker-Content-Digest"]
        load("--repository", "many", "--tags", self.referrers, "--first", 5000000, "--subject", self.subject)

    def state(self):
        return {"repositories": self.repositories, "tags": self.tags, "many": self.many, "referrers": self.referrers}

    def paths(self, kind, number):
        pick = random.Random(number)
        for _ in range(number):
            repository, tag = f"scale/{pick.randrange(self.repositories):05}", f"t{pick.randrange(self.tags):07}"
            yield {
                "manifest": f"/v2/{repository}/manifests/{tag}",
                "many-manifest": f"/v2/many/manifests/t{pick.randrange(self.many):07}",
                "tags": f"/v2/many/tags/list?n=100&last=t{pick.randrange(max(self.many - 100, 1)):07}",
                "catalog": f"/v2/_catalog?n=100&last=scale/{pick.randrange(max(self.repositories - 100, 1)):05}",
                "referrers": f"/v2/many/referrers/{self.subject}",
            }[kind]


def requests(kind, clients, *options):
    def run(context, store):
        path = f"{context.scratch}/paths"
        with open(path, "w") as f:
            f.write("\n".join(store.paths(kind, 10000)))
        sample = loaded(context, store.peer, "get", "--paths", path, "--clients", clients, "--seconds", context.size.seconds, *options)
        sample["value"] = sample["p50_us"] / 1000 if clients == 1 else sample["rate"]
        return sample
    return run


def without_cache(run):
    """Each answer from the database: the kept manifests of a hot set say nothing of the store's size."""
    def restart(store, *options):
        store.peer.stop(keep=True)
        store.peer.options = options
        store.peer.start()

    def run_restarted(context, store):
        usual = store.peer.options
        restart(store, *usual, "--cache", "0")
        try:
            return run(context, store)
        finally:
            restart(store, *usual)
    return run_restarted


def put(context, store):
    context.pushed += 1
    sample = loaded(context, store.peer, "seed", "--repository", "many", "--tags", context.size.puts, "--first",
                    6000000 + context.pushed * context.size.puts, "--clients", 8)
    sample["value"] = sample["rate"]
    return sample


def scale_benches():
    plain = {"transports": ("plain",), "cpu_per": "request"}
    return [
        Bench("scale-get", "manifest GET by tag, 10,000 that recur", "requests/s", requests("manifest", 16, "--header", ACCEPT),
              **plain),
        Bench("scale-get-uncached", "manifest GET by tag, without the cache", "requests/s",
              without_cache(requests("manifest", 16, "--header", ACCEPT)), **plain),
        Bench("scale-head", "manifest HEAD by tag, 10,000 that recur", "requests/s",
              requests("manifest", 16, "--header", ACCEPT, "--method", "HEAD"), **plain),
        Bench("scale-get-many", "manifest GET by tag in the large repository", "requests/s",
              requests("many-manifest", 16, "--header", ACCEPT), **plain),
        Bench("scale-put", "manifest PUT into the large repository, 8 clients", "requests/s", put, **plain),
        Bench("scale-tags", "page of 100 tags of the large repository", "ms", requests("tags", 1), lower=True, **plain),
        Bench("scale-catalog", "page of 100 repositories", "ms", requests("catalog", 1), lower=True, **plain),
        Bench("scale-referrers", "page of referrers", "ms", requests("referrers", 1), lower=True, **plain),
    ]


def open_stores(context, make_peer):
    """The small store is new; the large one is kept between runs where --store names a folder."""
    size = context.size
    small = Store(make_peer("small", None), size.scale_small, size.scale_tags, size.scale_tags, size.scale_referrers)
    large = Store(make_peer("large", context.store), size.scale_repositories, size.scale_tags, size.scale_many, size.scale_referrers)
    for store in (small, large):
        store.peer.start()
        stamp = f"{store.peer.folder}/seeded.json"
        if os.path.exists(stamp):
            with open(stamp) as f:
                kept = json.load(f)
            if {**kept, "subject": None} == {**store.state(), "subject": None}:
                store.subject = kept["subject"]
                continue
            raise RuntimeError(f"{store.peer.folder} was seeded with other numbers: remove it")
        context.say(f"seeding the {store.peer.name} store: {store.repositories * store.tags + store.many:,} tags")
        store.seed(context)
        with open(stamp, "w") as f:
            json.dump({**store.state(), "subject": store.subject}, f)
    return small, large
