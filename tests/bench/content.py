"""The bytes that all peers serve: one image with a small, a middling and a large layer, in bench/app:v1."""

import hashlib
import json
import os
import urllib.parse

import peers

REPOSITORY = "bench/app"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
PIECE = 1 << 20


class Blob:
    """`bytes` of random content that repeats each MiB: made once, hashed once, sent to every peer."""

    def __init__(self, size):
        self.size = size
        self.piece = os.urandom(min(size, PIECE))
        self.hash = hashlib.sha256()
        for piece in self.pieces():
            self.hash.update(piece)
        self.digest = "sha256:" + self.hash.hexdigest()

    def pieces(self):
        for at in range(0, self.size, PIECE):
            yield self.piece[: self.size - at]


class Image:
    def __init__(self, large_bytes):
        self.config, self.small, self.middling, self.large = Blob(1536), Blob(4096), Blob(65536), Blob(large_bytes)
        self.blobs = (self.config, self.small, self.middling, self.large)
        descriptor = lambda kind, blob: {"mediaType": kind, "digest": blob.digest, "size": blob.size}
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": descriptor("application/vnd.oci.image.config.v1+json", self.config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b) for b in self.blobs[1:]],
        }).encode()
        self.manifest_digest = "sha256:" + hashlib.sha256(self.manifest).hexdigest()
        self.by_tag = f"/v2/{REPOSITORY}/manifests/v1"
        self.by_digest = f"/v2/{REPOSITORY}/manifests/{self.manifest_digest}"

    def blob_path(self, blob):
        return f"/v2/{REPOSITORY}/blobs/{blob.digest}"

    def install(self, peer):
        """Pushes the image, or writes the files, and reads all of it back."""
        if hasattr(peer, "put_file"):
            for blob in (self.config, self.small) if isinstance(peer, peers.Floor) else self.blobs:
                peer.put_file(self.blob_path(blob), blob.pieces())
            for path in (self.by_tag, self.by_digest):
                peer.put_file(path, [self.manifest])
        else:
            connection = peers.connect(peer.url)
            for blob in self.blobs:
                push_blob(connection, REPOSITORY, blob)
            request(connection, "PUT", self.by_tag, 201, self.manifest, {"Content-Type": MANIFEST_TYPE})
            connection.close()
        if not isinstance(peer, peers.Floor):
            self.check(peer)

    def check(self, peer):
        connection = peers.connect(peer.url)
        for path in (self.by_tag, self.by_digest):
            if request(connection, "GET", path, 200, headers={"Accept": MANIFEST_TYPE})[1] != self.manifest:
                raise RuntimeError(f"{peer.name}: {path} is not what was pushed")
        for blob in self.blobs:
            connection.request("GET", self.blob_path(blob))
            answer, got = connection.getresponse(), hashlib.sha256()
            while piece := answer.read(PIECE):
                got.update(piece)
            if answer.status != 200 or got.digest() != blob.hash.digest():
                raise RuntimeError(f"{peer.name}: blob {blob.digest} is not what was pushed")
        connection.close()


def request(connection, method, path, status, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != status:
        raise RuntimeError(f"{method} {path}: {answer.status} instead of {status}: {text[:200]!r}")
    return answer, text


def push_blob(connection, repository, blob):
    answer, _ = request(connection, "POST", f"/v2/{repository}/blobs/uploads/", 202, b"")
    location = urllib.parse.urlsplit(answer.headers["Location"])
    query = (location.query + "&" if location.query else "") + "digest=" + blob.digest
    request(connection, "PUT", f"{location.path}?{query}", 201, blob.pieces(),
            {"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"})
