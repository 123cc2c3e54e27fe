"""Archives that go between orlop export and import and the clients: skopeo, buildah, podman and Docker Engine write and read them."""
from pathlib import Path

from support.clients import ClientTest, Service, run
from support.daemon import binary
from support.image import Layout, root_layers
from support.registry import OCI_EMPTY, OCI_INDEX

LIMITS = ('--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000')


class ArchiveClientTest(ClientTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        Path('/etc/containers').mkdir(exist_ok=True)
        Path('/etc/containers/policy.json').write_text('{"default":[{"type":"insecureAcceptAnything"}]}')

    def source(self):
        return f'oci:{self.layout.folder}:app'

    def take(self, path, *name):
        return run(binary(), 'import', path, *name, '--data', self.orlop.data)

    def give(self, *words):
        return run(binary(), 'export', *words, '--data', self.orlop.data)


class SkopeoArchiveTest(ArchiveClientTest):
    programs = ('skopeo',)

    def test_what_skopeo_writes(self):
        for kind, name in (('oci-archive', 'sk/oci:1'), ('docker-archive', 'sk/docker:1')):
            path = self.folder / f'{kind}.tar'
            run('skopeo', 'copy', self.source(), f'{kind}:{path}:{name}')
            self.take(path)
            repository, _, tag = name.partition(':')
            self.digest(repository, tag)
        self.assertEqual(self.digest('sk/oci', '1'), self.image['digest'])
        folder = self.folder / 'written'
        run('skopeo', 'copy', self.source(), f'oci:{folder}:x')
        self.take(folder, 'sk/folder:2')
        self.assertEqual(self.digest('sk/folder', '2'), self.image['digest'])

    def test_what_skopeo_reads(self):
        self.take(self.layout.folder, 'sk/read:1')
        path = self.folder / 'read.tar'
        self.give('sk/read:1', path)
        for source in (f'oci-archive:{path}:sk/read:1', f'docker-archive:{path}:docker.io/sk/read:1'):
            back = self.folder / source.partition(':')[0]
            run('skopeo', 'copy', source, f'oci:{back}:back')
        self.assertIn(self.image['digest'], (self.folder / 'oci-archive' / 'index.json').read_text())
        self.give('sk/read:1', f'{self.folder}/layout-out/')
        self.assertIn(self.image['digest'], run('skopeo', 'inspect', f'oci:{self.folder}/layout-out:sk/read:1'))

    def test_all_platforms(self):
        layout = Layout(self.folder / 'all')
        entries = [layout.image(root_layers()[:2], architecture) for architecture in ('amd64', 'arm64')]
        top = layout.tag(layout.index(entries), 'all')
        path = self.folder / 'all.tar'
        run('skopeo', 'copy', '--all', f'oci:{layout.folder}:all', f'oci-archive:{path}:sk/all:1')
        self.take(path)
        self.assertEqual(self.digest('sk/all', '1'), top['digest'])
        self.assertEqual(self.registry.manifest('sk/all', '1')['Content-Type'], OCI_INDEX)
        out = self.folder / 'all-out.tar'
        self.give('sk/all:1', out)
        run('skopeo', 'copy', '--all', f'oci-archive:{out}:sk/all:1', f'oci:{self.folder}/all-back:x')
        self.assertIn(top['digest'], (self.folder / 'all-back' / 'index.json').read_text())

    def test_artifact_without_layers(self):
        layout = Layout(self.folder / 'empty')
        layout.tag(layout.put('application/vnd.oci.image.manifest.v1+json', (
            b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x-a","config":'
            b'{"mediaType":"' + OCI_EMPTY.encode() + b'","size":2,"digest":"' + layout.put(OCI_EMPTY, b'{}')['digest'].encode() +
            b'"},"layers":[]}')), 'sk/artifact:1')
        self.take(layout.folder)
        self.give('sk/artifact:1', self.folder / 'artifact.tar')


class PodmanArchiveTest(ArchiveClientTest):
    programs = ('podman', 'buildah')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        state = cls.folder / 'podman'
        cls.words = ('--root', state / 'root', '--runroot', state / 'run', '--storage-driver', 'vfs')

    def podman(self, *words):
        return run('podman', *self.words, '--runtime', 'runc', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none', *words)

    def test_save_import_export_load_run(self):
        run('buildah', *self.words, 'pull', self.source())
        image = self.podman('images', '--quiet').split()[0]
        self.podman('tag', image, 'localhost/pod/app:1')
        for form in ('docker-archive', 'oci-archive'):
            path = self.folder / f'podman-{form}.tar'
            self.podman('save', '--format', form, '-o', path, 'localhost/pod/app:1')
            self.take(path, f'pod/{form}:1')
            back = self.folder / f'podman-{form}-back.tar'
            self.give(f'pod/{form}:1', back)
            self.podman('load', '-i', back)
            self.assert_ran(self.podman('run', '--rm', '--network', 'none', *LIMITS, f'pod/{form}:1'))

    def test_buildah(self):
        run('buildah', *self.words, 'pull', self.source())
        image = run('buildah', *self.words, 'images', '--quiet').split()[0]
        run('buildah', *self.words, 'push', image, f'oci-archive:{self.folder}/buildah.tar:bud/app:3')
        self.take(self.folder / 'buildah.tar')
        self.digest('bud/app', '3')


class DockerArchiveTest(ArchiveClientTest):
    programs = ('dockerd', '/usr/bin/docker')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        state = cls.folder / 'docker'
        state.mkdir()
        cls.socket = f'unix://{state}/socket'
        command = ['dockerd', '--host', cls.socket, '--data-root', state / 'data', '--exec-root', state / 'exec',
                   '--pidfile', state / 'pid', '--iptables=false', '--ip6tables=false', '--bridge=none']
        cls.engine = Service(command, state / 'log', ['/usr/bin/docker', '--host', cls.socket, 'info'])
        cls.addClassCleanup(cls.engine.stop)

    def docker(self, *words):
        return run('/usr/bin/docker', '--host', self.socket, *words)

    def test_export_load_run_save_import(self):
        self.take(self.layout.folder, 'dock/app:1')
        self.give('dock/app:1', self.folder / 'for-docker.tar')
        self.assertIn('dock/app:1', self.docker('load', '-i', self.folder / 'for-docker.tar'))
        self.assert_ran(self.docker('run', '--rm', '--network', 'none', 'dock/app:1'))
        image = self.docker('image', 'inspect', '--format', '{{.Id}}', 'dock/app:1')
        self.docker('tag', 'dock/app:1', 'dock/saved:2')
        self.docker('save', '-o', self.folder / 'saved.tar', 'dock/saved:2', 'dock/app:1')
        self.take(self.folder / 'saved.tar', 'back/again')
        self.digest('back/again', '2')
        self.give('back/again:2', self.folder / 'again.tar')
        self.docker('rmi', '--force', 'dock/app:1', 'dock/saved:2')
        self.docker('load', '-i', self.folder / 'again.tar')
        self.assertEqual(self.docker('image', 'inspect', '--format', '{{.Id}}', 'back/again:2'), image)
        self.assert_ran(self.docker('run', '--rm', '--network', 'none', 'back/again:2'))
