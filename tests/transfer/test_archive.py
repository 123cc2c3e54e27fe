"""orlop export and orlop import: round trips with a registry that runs or not, archives in any order and form, and archives that are
damaged, incomplete or made to harm."""
import gzip
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

from support.daemon import Daemon, binary
from support.image import tar_of
from support.registry import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Registry, descriptor, digest_of, expect, index, manifest
from support.store import check_store

LARGE_BYTES = 200 * 1000 * 1000
MEMORY_KIB_MAX = 48 * 1024
NAME = 'org.opencontainers.image.ref.name'


def run_orlop(*arguments, **more):
    return subprocess.run([binary(), *map(str, arguments)], capture_output=True, timeout=300, **more)


def member(tar, name, data=b'', **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def tar_bytes(members):
    """members: {name: bytes}, in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name, data in members.items():
            member(tar, name, data)
    return buffer.getvalue()


def layers(*seeds):
    return [tar_of({'data': random.Random(seed).randbytes(30_000)}) for seed in seeds]


def layout_members(entries, blobs):
    """An OCI image layout: entries are those of index.json."""
    members = {'oci-layout': b'{"imageLayoutVersion":"1.0.0"}', 'index.json': index(entries)}
    return {**members, **{f'blobs/{digest_of(blob).replace(":", "/")}': blob for blob in blobs}}


def image_members(name='team/app:1', seeds=(1, 2)):
    blobs = [b'{"architecture":"amd64","os":"linux"}', *layers(*seeds)]
    data = manifest(blobs[0], blobs[1:])
    return layout_members([descriptor(OCI_MANIFEST, data, **({'annotations': {NAME: name}} if name else {}))], [*blobs, data]), digest_of(data)


def saved_members(tags=('team/saved:1',), seeds=(1, 2), **more):
    """What older versions of docker save write."""
    tars = layers(*seeds)
    config = json.dumps({'architecture': 'amd64', 'os': 'linux', 'rootfs': {'type': 'layers', 'diff_ids': [digest_of(t) for t in tars]}}).encode()
    listing = [{'Config': 'c.json', 'RepoTags': list(tags), 'Layers': [f'l{i}/layer.tar' for i in range(len(tars))], **more}]
    return {**{f'l{i}/layer.tar': data for i, data in enumerate(tars)}, 'l0/VERSION': b'1.0', 'l0/json': b'{}', 'c.json': config,
            'manifest.json': json.dumps(listing).encode(), 'repositories': b'{}'}


class ArchiveTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-archive-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.data = self.folder / 'data'
        self.tar = self.folder / 'images.tar'

    def ok(self, *arguments, data=None, **more):
        run = run_orlop(*arguments, '--data', data or self.data, **more)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def take(self, archive, *name, **more):
        """Imports these bytes, or members."""
        self.tar.write_bytes(tar_bytes(archive) if isinstance(archive, dict) else archive)
        return self.ok('import', self.tar, *name, **more).decode()

    def refuses(self, message, archive, *name):
        self.tar.write_bytes(tar_bytes(archive) if isinstance(archive, dict) else archive)
        run = run_orlop('import', self.tar, *name, '--data', self.data)
        self.assertIn(run.returncode, (1, 2), run.stdout)
        self.assertRegex(run.stderr.decode(), message)
        self.assertNotIn(b'\x1b', run.stderr)

    def has(self, images, data=None):
        """{(repository, reference): digest}, and all that they name is there."""
        with Daemon(data=data or self.data) as orlop, Registry(orlop) as registry:
            for (repository, reference), digest in images.items():
                answer = expect(registry.manifest(repository, reference), 200)
                self.assertEqual(digest_of(answer.body), digest)
                for part in json.loads(answer.body).get('layers', []):
                    self.assertEqual(digest_of(expect(registry.blob(repository, part['digest']), 200).body), part['digest'])
        check_store(data or self.data)


class RoundTripTest(ArchiveTest):
    def fill(self, registry):
        """Two repositories: an image, an index of two, a referrer and a referrer of it."""
        registry.push_image('team/app', '1', config=b'{"a":1}', layers=layers(1, 2))
        for blob in (b'{"b":1}', *layers(1, 3)):
            registry.push_blob('team/multi', blob)
        entries = []
        for i, seed in enumerate((1, 3)):
            data = manifest(b'{"b":1}', layers(seed))
            registry.push_manifest('team/multi', digest_of(data), data)
            entries.append(descriptor(OCI_MANIFEST, data, platform={'architecture': ('amd64', 'arm64')[i], 'os': 'linux'}))
        top = index(entries)
        registry.push_manifest('team/multi', 'all', top, OCI_INDEX)
        registry.push_blob('team/multi', b'{}')
        registry.push_blob('team/multi', b'signature')
        signature = manifest(b'{}', [b'signature'], subject=descriptor(OCI_INDEX, top), artifactType='application/x-signature')
        registry.push_manifest('team/multi', digest_of(signature), signature)
        second = manifest(b'{}', [b'signature'], subject=descriptor(OCI_MANIFEST, signature), artifactType='application/x-note')
        registry.push_manifest('team/multi', digest_of(second), second)
        return {('team/app', '1'): None, ('team/multi', 'all'): digest_of(top), ('team/multi', digest_of(signature)): digest_of(signature),
                ('team/multi', digest_of(second)): digest_of(second), ('team/multi', entries[1]['digest']): entries[1]['digest']}

    def round_trip(self, tls, target, stdin=False):
        copy = self.folder / 'copy'
        with Daemon(data=self.data, tls=tls) as orlop, Registry(orlop) as registry:
            images = self.fill(registry)
            images['team/app', '1'] = digest_of(registry.manifest('team/app', '1').body)
            told = self.ok('export', 'team/app:1', 'team/multi', target)
            if tls is None:
                return
        if target == '-':
            told = self.ok('import', '-', data=copy, input=told)
        else:
            self.assertIn(b'2 images, 2 referrers', told)
            told = self.ok('import', target, data=copy)
        self.assertIn(b'2 images, 2 referrers', told)
        self.has(images, data=copy)
        again = self.ok('import', target, data=copy) if target != '-' else b' 0 blobs stored'
        self.assertIn(b' 0 blobs stored', again)
        # The same bytes, whoever writes them.
        if target == self.tar:
            self.ok('export', 'team/app:1', 'team/multi', self.folder / 'again.tar', data=copy)
            self.assertEqual((self.folder / 'again.tar').read_bytes(), self.tar.read_bytes())

    def test_from_a_running_registry_with_tls(self):
        self.round_trip(True, self.tar)

    def test_from_a_running_registry_in_a_folder(self):
        self.round_trip(False, self.folder / 'layout')

    def test_over_a_pipe(self):
        self.round_trip(True, '-')

    def test_in_a_folder(self):
        (self.folder / 'layout').mkdir()
        self.round_trip(True, f'{self.folder}/layout/')
        self.assertTrue((self.folder / 'layout' / 'index.json').is_file())

    def test_into_a_running_registry(self):
        members, digest = image_members()
        for tls in (False, True):
            data = self.folder / f'running-{tls}'
            with Daemon(data=data, tls=tls) as orlop, Registry(orlop) as registry:
                self.take(members, data=data)
                self.assertEqual(digest_of(registry.manifest('team/app', '1').body), digest)
                self.assertEqual(json.loads(registry.request('GET', '/v2/_catalog').body)['repositories'], ['team/app'])
            self.has({('team/app', '1'): digest}, data=data)

    def test_over_a_unix_socket(self):
        members, digest = image_members()
        with Daemon('--listen', f'unix:{self.folder}/socket', data=self.data, tls=True):
            self.take(members)
        self.has({('team/app', '1'): digest})

    def test_an_import_that_is_stopped_leaves_no_registry(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            process = subprocess.Popen([binary(), 'import', '-', '--data', str(self.data)], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
            process.stdin.write(tar_bytes(image_members()[0])[:30_000])
            process.stdin.flush()
            self.wait(lambda: (self.data / 'lock').exists() and 'unix:' in (self.data / 'lock').read_text())
            socket = Path(re.search('unix:(.*)', (self.data / 'lock').read_text())[1])
            process.send_signal(number)
            process.wait(20)
            process.stdin.close()
            self.wait(lambda: run_orlop('check', '--data', self.data, '--listen', '127.0.0.1:0').stdout.count(b'registry: does not run'))
            if number != signal.SIGKILL:
                self.assertFalse(socket.parent.exists())
            shutil.rmtree(socket.parent, ignore_errors=True)
            (self.data / 'lock').unlink()
        self.take(image_members()[0])

    @unittest.skipUnless(os.geteuid() == 0, 'only root has files that others cannot read')
    def test_for_another_users_registry(self):
        self.folder.chmod(0o755)
        self.data.mkdir()
        shutil.chown(self.data, 'nobody')
        self.take(image_members()[0])
        self.tar.chmod(0o600)
        self.take(image_members()[0], 'other')
        self.ok('export', 'other', self.folder / 'out.tar')
        self.assertEqual({path.owner() for path in self.data.rglob('*')}, {'nobody'})

    def wait(self, done):
        deadline = time.monotonic() + 20
        while not done():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_without_referrers(self):
        with Daemon(data=self.data) as orlop, Registry(orlop) as registry:
            self.fill(registry)
        self.assertIn(b'1 image, 0 referrers', self.ok('export', '--no-referrers', 'team/multi:all', self.tar))

    def test_large_layers_need_no_memory(self):
        block = random.Random(1).randbytes(1 << 20)
        with open(self.tar, 'wb') as file, tarfile.open(fileobj=file, mode='w|') as tar:
            config, layer = b'{}', block * (LARGE_BYTES >> 20)
            data = manifest(config, [layer])
            for name, content in layout_members([descriptor(OCI_MANIFEST, data, annotations={NAME: 'big:1'})], [layer, config, data]).items():
                member(tar, name, content)
        self.assert_small('import', self.tar)
        self.assert_small('export', 'big:1', self.folder / 'out.tar')
        self.assertGreater((self.folder / 'out.tar').stat().st_size, LARGE_BYTES - (2 << 20))
        self.has({('big', '1'): digest_of(data)})

    def assert_small(self, *arguments):
        """The most that the command, and the registry that it starts, had in memory."""
        code = ('import resource, subprocess, sys; run = subprocess.run(sys.argv[1:], stdout=sys.stderr);'
                'print(run.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)')
        run = subprocess.run(['python3', '-c', code, binary(), *map(str, arguments), '--data', str(self.data)], capture_output=True, text=True,
                             timeout=300)
        status, kib = map(int, run.stdout.split())
        self.assertEqual(status, 0, run.stderr)
        if not re.search('[at]san', binary()):          # sanitizers need much more
            self.assertLess(kib, MEMORY_KIB_MAX)


    def test_the_largest_manifest(self):
        def text(n):
            return index([], annotations={'a': 'x' * n})
        most = ('--max-manifest', '8KiB')
        data, copy = text(8192 - len(text(0))), self.folder / 'copy'
        with Daemon(*most, data=self.data) as orlop, Registry(orlop) as registry:
            registry.push_manifest('team/large', '1', data, OCI_INDEX)
            self.ok('export', *most, 'team/large', self.tar)
        self.ok('import', *most, self.tar, data=copy)
        self.has({('team/large', '1'): digest_of(data)}, data=copy)


class FormTest(ArchiveTest):
    def test_any_order(self):
        members, digest = image_members()
        for seed in range(6):
            names = list(members)
            random.Random(seed).shuffle(names)
            data = self.folder / f'order-{seed}'
            self.take({name: members[name] for name in names}, data=data)
            if seed == 0:
                self.has({('team/app', '1'): digest}, data=data)

    def test_compressed(self):
        members, digest = image_members()
        self.take(gzip.compress(tar_bytes(members)))
        self.has({('team/app', '1'): digest})
        if shutil.which('zstd'):
            packed = subprocess.run(['zstd', '-c'], input=tar_bytes(members), capture_output=True, check=True).stdout
            self.assertIn(' 0 blobs stored', self.take(packed))
        self.assertIn(' 0 blobs stored', self.ok('import', '-', input=gzip.compress(tar_bytes(members))).decode())

    def test_names(self):
        members, digest = image_members('docker.io/library/app:2')
        self.take(members)
        self.take(members, 'other/name')
        self.take(members, 'third:x')
        self.take(image_members('7')[0], 'tagged')
        self.take(image_members('')[0], 'nameless')
        self.has({('app', '2'): digest, ('other/name', '2'): digest, ('third', 'x'): digest, ('tagged', '7'): digest,
                  ('nameless', 'latest'): digest})
        self.refuses('does not tell the name', image_members('7')[0])
        self.refuses('does not tell the name', image_members('')[0])
        self.refuses('not a repository', members, 'UPPER')
        self.refuses('not a repository|tag', members, 'a:b:c')

    def test_docker_save(self):
        members = saved_members(tags=('team/saved:1', 'team/saved:2'))
        lines = self.take(members).splitlines()
        self.assertEqual(lines[0].split()[0], 'team/saved:1')
        digest = lines[0].split()[1]
        self.has({('team/saved', '1'): digest, ('team/saved', '2'): digest})
        with Daemon(data=self.data) as orlop, Registry(orlop) as registry:
            data = json.loads(registry.manifest('team/saved', '1').body)
            self.assertEqual([part['digest'] for part in data['layers']], [digest_of(layer) for layer in layers(1, 2)])
            self.assertEqual([part['mediaType'] for part in data['layers']], [OCI_LAYER.removesuffix('+gzip')] * 2)
            self.assertEqual(data['config']['mediaType'], OCI_CONFIG)

    def test_docker_save_with_links(self):
        members = saved_members(seeds=(1, 1, 2))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode='w') as tar:
            for name, data in members.items():
                if name == 'l1/layer.tar':
                    member(tar, name, type=tarfile.SYMTYPE, linkname='../l0/layer.tar')
                else:
                    member(tar, name, data)
        self.take(buffer.getvalue())

    def test_docker_save_with_compressed_layers(self):
        members = saved_members()
        members['l1/layer.tar'] = gzip.compress(members['l1/layer.tar'])
        digest = self.take(members).split()[1]
        self.has({('team/saved', '1'): digest})

    def test_index_of_which_one_image_is_there(self):
        """As docker save writes it."""
        blobs = [b'{}', *layers(1), b'{"statement":1}']
        here, other = manifest(b'{}', layers(1)), manifest(b'{}', layers(9))
        statement = manifest(b'{}', [b'{"statement":1}'], layer_type='application/vnd.in-toto+json')
        top = index([descriptor(OCI_MANIFEST, data) for data in (here, other, statement)])
        entries = [descriptor(OCI_INDEX, top, annotations={NAME: '1', 'io.containerd.image.name': 'docker.io/library/part:1'})]
        members = layout_members(entries, [*blobs, here, statement, top])
        self.take(members)
        self.has({('part', '1'): digest_of(here)})
        third = manifest(b'{}', [b'{"statement":1}'])
        top = index([descriptor(OCI_MANIFEST, data) for data in (here, other, third)])
        entries = [descriptor(OCI_INDEX, top, annotations={NAME: 'part:2'})]
        self.refuses('lacks 1 of the images', layout_members(entries, [*blobs, here, third, top]))

    def test_what_tar_reads(self):
        self.take(image_members()[0])
        self.ok('export', 'team/app', self.folder / 'out.tar')
        with tarfile.open(self.folder / 'out.tar') as tar:
            names = tar.getnames()
            for name in names:
                if name.startswith('blobs/'):
                    self.assertEqual(digest_of(tar.extractfile(name).read()), name.removeprefix('blobs/').replace('/', ':'))
        self.assertEqual(len(names), len(set(names)))
        subprocess.run(['tar', 'tf', self.folder / 'out.tar'], check=True, stdout=subprocess.DEVNULL)


class DamageTest(ArchiveTest):
    def test_incomplete(self):
        members, digest = image_members()
        for name in members:
            if name in ('oci-layout', 'index.json'):
                continue
            self.data = self.folder / name.replace('/', '-')
            self.refuses('not complete', {key: value for key, value in members.items() if key != name})
            with Daemon(data=self.data) as orlop, Registry(orlop) as registry:
                self.assertEqual(registry.manifest('team/app', '1').status, 404)
        self.refuses('neither index.json', {name: data for name, data in members.items() if name != 'index.json'})
        self.refuses('holds no image', layout_members([], []))

    def test_wrong_bytes(self):
        members, digest = image_members()
        name = next(name for name in members if name.startswith('blobs/'))
        self.refuses('have the digest', {**members, name: members[name] + b'x'})
        whole = tar_bytes(members)
        self.refuses('ends|damaged|no tar', whole[:len(whole) // 2])
        self.refuses('ends|damaged', gzip.compress(whole)[:20_000])
        self.refuses('no tar archive', os.urandom(5000))
        self.refuses('no tar archive', b'')

    def test_docker_save_that_is_wrong(self):
        members = saved_members()
        self.refuses('is not there', {name: data for name, data in members.items() if name != 'l1/layer.tar'})
        self.refuses('not .* as its configuration tells', {**members, 'l1/layer.tar': members['l0/layer.tar']})
        self.refuses('layers', saved_members(Layers=['l0/layer.tar']))
        self.refuses('does not tell the name', saved_members(tags=()))
        self.refuses('several images', saved_members(tags=('a:1', 'a:2')), 'b:1')

    def test_hostile(self):
        members = image_members()[0]
        self.refuses('leads out', {**members, '../../etc/cron.d/x': b'x'})
        self.refuses('leads out', {**members, '/etc/cron.d/x': b'x'})
        self.refuses('control characters', {**members, 'a\x1b[2J': b'x'})
        self.refuses('more than', {**members, 'index.json': b' ' * 3_000_000})
        self.refuses('not valid JSON', {**members, 'index.json': b'{'})
        deep = manifest(b'{}', [])
        blobs = [b'{}', deep]
        entry = descriptor(OCI_MANIFEST, deep)
        for _ in range(12):
            blobs.append(index([entry]))
            entry = descriptor(OCI_INDEX, blobs[-1])
        self.refuses('nested', layout_members([{**entry, 'annotations': {NAME: 'deep:1'}}], blobs))
        loop = saved_members()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode='w') as tar:
            for name, data in loop.items():
                if name == 'l0/layer.tar':
                    member(tar, name, type=tarfile.SYMTYPE, linkname='../l1/layer.tar')
                elif name == 'l1/layer.tar':
                    member(tar, name, type=tarfile.SYMTYPE, linkname='../l0/layer.tar')
                else:
                    member(tar, name, data)
        self.refuses('is not there', buffer.getvalue())

    def test_larger_than_the_registry_takes(self):
        blobs = [b'{}', os.urandom(3_000_000)]
        data = manifest(blobs[0], blobs[1:])
        self.tar.write_bytes(tar_bytes(layout_members([descriptor(OCI_MANIFEST, data, annotations={NAME: 'big:1'})], [*blobs, data])))
        for tls in (False, True):
            data = self.folder / f'limit-{tls}'
            with Daemon('--max-upload', '1MiB', data=data, tls=tls):
                run = run_orlop('import', self.tar, '--data', data)
                self.assertEqual(run.returncode, 1)
                self.assertIn(b'larger than the 1048576 bytes', run.stderr)

    def test_export_that_fails_leaves_nothing(self):
        self.take(image_members()[0])
        for name in ('team/app:2', 'nothing', 'team/app@sha256:' + '0' * 64):
            run = run_orlop('export', name, self.folder / 'out.tar', '--data', self.data)
            self.assertEqual(run.returncode, 1)
        run = run_orlop('export', 'team/app:1', self.folder, '--data', self.data)
        self.assertIn(b'not empty', run.stderr)
        for path in (self.data / 'blobs').rglob('*.*'):
            path.chmod(0o600)
            path.write_bytes(b'X' + path.read_bytes()[1:])
        run = run_orlop('export', 'team/app:1', self.folder / 'out.tar', '--data', self.data)
        self.assertIn(b'not those of its digest', run.stderr)
        self.assertEqual([path.name for path in self.folder.iterdir() if 'out' in path.name], [])
        run = run_orlop('export', 'team/app:1', self.folder / 'out.tar', '--data', self.folder / 'none')
        self.assertIn(b'there is no registry', run.stderr)


if __name__ == '__main__':
    unittest.main()
