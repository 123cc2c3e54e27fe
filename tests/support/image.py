"""Images for the clients' tests, made of what is installed on the machine: a small root file system in several layers that runs,
an index for several platforms, artifacts. Written as an OCI image layout, which skopeo, podman and buildah read, and as an archive
for docker load and ctr import."""
import gzip
import hashlib
import io
import json
import os
import platform
import random
import re
import subprocess
import tarfile
from pathlib import Path

from support.registry import (DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor,
                              digest_of, index)

ARCHITECTURE = {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine())
CHUNK_BYTES = 1 << 24
PAYLOAD = b'what the container reads\n' * 1000
PAYLOAD_SHA = hashlib.sha256(PAYLOAD).hexdigest()
CHECK = '/bin/sha256sum /data/payload && test ! -e /data/removed'        # what a container of the image runs


# --- Layers ------------------------------------------------------------------------------------------------------------------

def tar_of(entries):
    """entries: {path: bytes, or a str for a symbolic link}; equal entries give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w', format=tarfile.PAX_FORMAT) as tar:
        folders = set()
        for path, content in sorted(entries.items()):
            for parent in reversed(Path(path).parents[:-1]):
                if str(parent) not in folders:
                    folders.add(str(parent))
                    info = tarfile.TarInfo(f'{parent}/')
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(info)
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def installed_file(path):
    return Path(path).resolve().read_bytes()


def program(path):
    """A program of this machine and the libraries that it is linked with, at the places where they are looked for."""
    libraries = re.findall(r'(/\S+)', subprocess.run(['ldd', path], capture_output=True, text=True, check=True).stdout)
    entries = {library.lstrip('/'): installed_file(library) for library in libraries}
    return {f'bin/{Path(path).name}': installed_file(path), **entries}


def root_layers():
    """The layers of an image that runs: a shell, a program with its libraries, data, and a layer that removes a file."""
    busybox = {'bin/busybox': installed_file('/bin/busybox'), 'bin/sh': 'busybox', 'bin/test': 'busybox',
               'etc/passwd': b'root:x:0:0:root:/:/bin/sh\n', 'tmp/.keep': b'', 'data/removed': b'old'}
    return [tar_of(busybox), tar_of(program('/usr/bin/sha256sum')), tar_of({'data/payload': PAYLOAD}), tar_of({'data/.wh.removed': b''})]


def large_layer(size):
    """Bytes that no compression makes smaller, in one file."""
    generator = random.Random(size)
    parts = [generator.randbytes(min(CHUNK_BYTES, size - at)) for at in range(0, size, CHUNK_BYTES)]
    return tar_of({'data/large': b''.join(parts)})


# --- Layout ------------------------------------------------------------------------------------------------------------------

class Layout:
    """An OCI image layout in a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.tops = []
        (self.folder / 'blobs' / 'sha256').mkdir(parents=True)
        (self.folder / 'oci-layout').write_text('{"imageLayoutVersion":"1.0.0"}')

    def path(self, digest):
        return self.folder / 'blobs' / digest.replace(':', '/')

    def put(self, media_type, data, **more):
        entry = descriptor(media_type, data, **more)
        self.path(entry['digest']).write_bytes(data)
        return entry

    def image(self, layers, architecture=ARCHITECTURE, docker=False, compress=True, **more):
        """The descriptor of an image of these tar files."""
        config = {'architecture': architecture, 'os': 'linux', 'config': {'Cmd': ['/bin/sh', '-c', CHECK], 'Env': ['PATH=/bin']},
                  'rootfs': {'type': 'layers', 'diff_ids': [digest_of(layer) for layer in layers]},
                  'history': [{'created_by': f'layer {i}'} for i in range(len(layers))]}
        layer_type = DOCKER_LAYER if docker else OCI_LAYER if compress else OCI_LAYER.removesuffix('+gzip')
        manifest_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        data = {
            'schemaVersion': 2, 'mediaType': manifest_type,
            'config': self.put(DOCKER_CONFIG if docker else OCI_CONFIG, json.dumps(config).encode()),
            'layers': [self.put(layer_type, gzip.compress(layer, 1, mtime=0) if compress else layer) for layer in layers], **more}
        return self.put(manifest_type, json.dumps(data).encode(), platform={'architecture': architecture, 'os': 'linux'})

    def index(self, entries):
        return self.put(OCI_INDEX, index(entries))

    def tag(self, entry, name):
        self.tops.append({**{key: entry[key] for key in ('mediaType', 'digest', 'size')},
                          'annotations': {'org.opencontainers.image.ref.name': name}})
        (self.folder / 'index.json').write_bytes(index(self.tops))
        return entry

    def manifest(self, entry):
        return json.loads(self.path(entry['digest']).read_bytes())

    def archive(self, entry, name, path):
        """A tar file of one image for docker load and ctr import."""
        manifest = self.manifest(entry)
        listing = [{'Config': self.member(manifest['config']), 'RepoTags': [name],
                    'Layers': [self.member(layer) for layer in manifest['layers']]}]
        top = {**entry, 'annotations': {'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.rpartition(':')[2]}}
        with tarfile.open(path, 'w') as tar:
            for part in (entry, manifest['config'], *manifest['layers']):
                if self.member(part) not in tar.getnames():
                    tar.add(self.path(part['digest']), self.member(part))
            for member, data in (('manifest.json', json.dumps(listing).encode()), ('index.json', index([top])),
                                 ('oci-layout', (self.folder / 'oci-layout').read_bytes())):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    def member(self, entry):
        return os.path.relpath(self.path(entry['digest']), self.folder)
