"""A Docker Engine beside the machine, and a small image to push: made from this computer's busybox, so that it runs."""
import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

from appliance.machine import CommandFailed, run

START_SECONDS = 90
PAYLOAD_BYTES = 3 * 1000 * 1000


def tar_of(entries):
    """{path: bytes} as an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        for path, content in entries.items():
            info = tarfile.TarInfo(path)
            info.mode, info.size = 0o755, len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def image_archive(path, name, seed):
    """For docker load: busybox and a payload of its own, whose digest a container prints."""
    payload = random.Random(seed).randbytes(PAYLOAD_BYTES)
    busybox = Path('/bin/busybox').resolve().read_bytes()
    layers = [tar_of({'bin/busybox': busybox}), tar_of({'payload': payload})]
    config = json.dumps({
        'architecture': 'amd64', 'os': 'linux', 'config': {'Cmd': ['/bin/busybox', 'sha256sum', '/payload']},
        'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + hashlib.sha256(layer).hexdigest() for layer in layers]}}).encode()
    listing = [{'Config': 'config.json', 'RepoTags': [name], 'Layers': ['0.tar', '1.tar']}]
    Path(path).write_bytes(tar_of({'config.json': config, '0.tar': layers[0], '1.tar': layers[1], 'manifest.json': json.dumps(listing).encode()}))
    return hashlib.sha256(payload).hexdigest()


class Engine:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.socket = f'unix://{self.folder}/socket'
        command = ['dockerd', '--host', self.socket, '--data-root', self.folder / 'data', '--exec-root', self.folder / 'exec', '--pidfile',
                   self.folder / 'pid', '--iptables=false', '--ip6tables=false', '--bridge=none']
        with open(self.folder / 'log', 'wb') as log:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while self.docker('info', check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f'dockerd did not start:\n{(self.folder / "log").read_text(errors="replace")[-3000:]}')
            time.sleep(0.2)

    def docker(self, *words, **more):
        return run('docker', '--host', self.socket, *words, **more)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def round_trip(self, registry, name, seed, check):
        """Load, push, remove, pull, run: `check` is the unittest case."""
        archive = self.folder / 'image.tar'
        digest = image_archive(archive, f'{registry}/{name}', seed)
        self.docker('load', '-i', archive)
        self.docker('push', f'{registry}/{name}')
        self.remove(f'{registry}/{name}')
        self.pull_and_run(registry, name, digest, check)
        return digest

    def remove(self, reference):
        self.docker('rmi', '--force', reference)

    def pull_and_run(self, registry, name, digest, check):
        self.docker('pull', f'{registry}/{name}')
        check.assertIn(digest, self.docker('run', '--rm', '--network', 'none', f'{registry}/{name}'))

    def trust(self, registry, authority):
        folder = Path('/etc/docker/certs.d', registry)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(authority, folder / 'ca.crt')


__all__ = ['CommandFailed', 'Engine', 'image_archive']
