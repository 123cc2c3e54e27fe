#!/usr/bin/env python3
"""Builds Orlop's container image from its binary, without a container engine and without root.

The image's file system is the binary, the shared libraries that it needs (asked from the loader), and the handful of files that a
process without root expects. The same commit, binary and libraries give the same bytes: entries are sorted, owners are fixed and
every time stamp is the commit's (SOURCE_DATE_EPOCH).

Written to the output folder:
  oci/                  an OCI image layout (skopeo copy oci:FOLDER:orlop ...)
  orlop-oci.tar         the same as one file
  orlop-docker.tar      for `docker load` and `podman load`
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import time

HERE = pathlib.Path(__file__).resolve().parent
USER_ID = 65532
DATA_FOLDER = "data"
COMPRESSED_BYTES_MAX = 12_000_000
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def fail(message):
    sys.exit(f"build_image: {message}")


def shared_objects(binary):
    """The loader and the libraries that the binary needs: their paths as the loader names them; none for a static binary."""
    probe = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    if "not a dynamic executable" in probe.stdout + probe.stderr or "statically linked" in probe.stdout:
        return []
    if probe.returncode != 0:
        fail(f"ldd {binary}: {probe.stderr.strip()}")
    paths = []
    for line in probe.stdout.splitlines():
        if "linux-vdso" in line or "linux-gate" in line:
            continue
        if "not found" in line:
            fail(f"a shared library is missing: {line.strip()}")
        found = re.search(r"(/\S+)", line.split("=>")[-1])
        if not found:
            fail(f"ldd says something unknown: {line.strip()}")
        paths.append(found.group(1))
    return sorted(set(paths))


def copyright_file(path):
    """The copyright file of the Debian package that owns a library; None where it is not Debian's."""
    names = [path, os.path.realpath(path)]
    names += [name.removeprefix("/usr") for name in names] + ["/usr" + name for name in names]
    for name in names:
        probe = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            package = probe.stdout.split(":")[0].split(",")[0]
            text = pathlib.Path("/usr/share/doc", package, "copyright")
            return text if text.exists() else None
    return None


class Layer:
    """The root file system as one sorted tar: collected by path first, so that the order of calls doesn't matter."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.entries = {}

    def _info(self, path, kind, mode, owner=0):
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.mtime = kind, mode, self.epoch
        info.uid = info.gid = owner
        return info

    def folder(self, path, mode=0o755, owner=0):
        self.entries[path] = (self._info(path, tarfile.DIRTYPE, mode, owner), b"")

    def parents(self, path):
        for parent in list(pathlib.PurePosixPath(path).parents)[:-1]:
            if str(parent) not in self.entries:
                self.folder(str(parent))

    def file(self, path, content, mode=0o644):
        self.parents(path)
        info = self._info(path, tarfile.REGTYPE, mode)
        info.size = len(content)
        self.entries[path] = (info, content)

    def link(self, path, target):
        info = self._info(path, tarfile.SYMTYPE, 0o777)
        info.linkname = target
        self.entries[path] = (info, b"")

    def tar(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in sorted(self.entries):
                info, content = self.entries[path]
                archive.addfile(info, io.BytesIO(content))
        return out.getvalue()


def root_file_system(binary, licence, epoch):
    layer = Layer(epoch)
    for name in ("lib", "lib64", "bin"):
        layer.link(name, f"usr/{name}")
    layer.file("usr/bin/orlop", pathlib.Path(binary).read_bytes(), 0o755)
    layer.folder("usr/lib")
    layer.folder("usr/lib64")
    for path in shared_objects(binary):
        inside = path.lstrip("/")
        inside = inside if inside.startswith("usr/") else "usr/" + inside
        layer.file(inside, pathlib.Path(path).read_bytes(), 0o755)
        text = copyright_file(path)
        if text:
            layer.file(f"usr/share/doc/{text.parent.name}/copyright", text.read_bytes())
    layer.file("usr/share/doc/orlop/copyright", licence.read_bytes())
    for name in ("passwd", "group", "nsswitch.conf"):
        layer.file(f"etc/{name}", (HERE / "etc" / name).read_bytes())
    layer.folder("etc/orlop")
    layer.folder("tmp", 0o1777)
    # A new named volume takes its owner and mode from this folder.
    layer.folder(DATA_FOLDER, 0o700, USER_ID)
    return layer.tar()


def image_config(args, diff_id, created):
    second = 1_000_000_000
    return {
        "created": created,
        "architecture": args.architecture,
        "os": "linux",
        "config": {
            "User": f"{USER_ID}:{USER_ID}",
            "ExposedPorts": {"5000/tcp": {}},
            "Env": [
                "PATH=/usr/bin",
                f"ORLOP_DATA=/{DATA_FOLDER}",
                "ORLOP_LISTEN=0.0.0.0:5000",
                # Whatever SQLite spills goes to the volume: the root file system may be read-only.
                f"SQLITE_TMPDIR=/{DATA_FOLDER}",
            ],
            "Entrypoint": ["/usr/bin/orlop"],
            "Cmd": ["serve"],
            "Volumes": {f"/{DATA_FOLDER}": {}},
            "WorkingDir": f"/{DATA_FOLDER}",
            "StopSignal": "SIGTERM",
            "Labels": {
                "org.opencontainers.image.title": "Orlop",
                "org.opencontainers.image.description": "A private container registry",
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.version": args.version,
                "org.opencontainers.image.revision": args.revision,
            },
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/orlop", "health"],
                "Interval": 15 * second,
                "Timeout": 5 * second,
                "StartPeriod": 10 * second,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "packaging/container/build_image.py"}],
    }


def encode(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def descriptor(media_type, content, **more):
    return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(content).hexdigest(), "size": len(content), **more}


def write_tar(path, files, epoch):
    """A plain tar of {path: content} with fixed owners and times; parents come first."""
    layer = Layer(epoch)
    for name, content in files.items():
        layer.file(name, content)
    path.write_bytes(layer.tar())


def write_image(args, out):
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(args.epoch))
    plain = root_file_system(args.binary, args.licence, args.epoch)
    layer = gzip.compress(plain, compresslevel=9, mtime=0)
    config = encode(image_config(args, "sha256:" + hashlib.sha256(plain).hexdigest(), created))
    manifest = encode({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, config),
        "layers": [descriptor(LAYER_TYPE, layer)],
    })
    reference = {"org.opencontainers.image.ref.name": args.version}
    platform = {"architecture": args.architecture, "os": "linux"}
    index = encode({
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [descriptor(MANIFEST_TYPE, manifest, annotations=reference, platform=platform)],
    })
    files = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    for blob in (layer, config, manifest):
        files["blobs/sha256/" + hashlib.sha256(blob).hexdigest()] = blob
    for name, content in files.items():
        path = out / "oci" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_tar(out / "orlop-oci.tar", files, args.epoch)

    config_name = hashlib.sha256(config).hexdigest() + ".json"
    layer_name = hashlib.sha256(layer).hexdigest() + "/layer.tar"
    archive = [{"Config": config_name, "RepoTags": [f"orlop:{args.version}", "orlop:latest"], "Layers": [layer_name]}]
    write_tar(out / "orlop-docker.tar", {config_name: config, layer_name: layer, "manifest.json": encode(archive)}, args.epoch)
    return len(layer) + len(config), descriptor(MANIFEST_TYPE, manifest)["digest"]


def arguments():
    parser = argparse.ArgumentParser(description="Builds Orlop's container image without a container engine.")
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--licence", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--revision", default="unknown")
    args = parser.parse_args()
    args.epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        fail(f"no image name for the architecture {machine}")
    args.architecture = ARCHITECTURES[machine]
    for path in (args.binary, args.licence):
        if not path.is_file():
            fail(f"{path}: no such file")
    return args


def main():
    args = arguments()
    fresh = args.out.with_name(args.out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    size, digest = write_image(args, fresh)
    if size > COMPRESSED_BYTES_MAX:
        fail(f"the image has {size} bytes compressed, more than {COMPRESSED_BYTES_MAX}")
    shutil.rmtree(args.out, ignore_errors=True)
    fresh.rename(args.out)
    print(f"{args.out}/oci, orlop-oci.tar, orlop-docker.tar: orlop:{args.version}, {size} bytes compressed, {digest}")


if __name__ == "__main__":
    main()
