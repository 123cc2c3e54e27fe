"""containerd against the registry, with its command ctr and the authority in the folder that Kubernetes nodes read as well: push,
remove, pull, run; an index for several platforms."""
import json
import re
from pathlib import Path

from support.clients import HOST, ClientTest, CommandFailed, Service, run
from support.image import Layout, large_layer, root_layers
from support.registry import OCI_INDEX

LARGE_BYTES = 300 * 1000 * 1000
HOSTS = Path('/etc/containerd/certs.d')


class ContainerdTest(ClientTest):
    programs = ('containerd', 'ctr')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        state = cls.folder / 'containerd'
        state.mkdir()
        (state / 'config.toml').write_text(f'version = 2\nroot = "{state}/root"\nstate = "{state}/state"\n'
                                           f'[grpc]\n  address = "{state}/socket"\n[ttrpc]\n  address = "{state}/ttrpc"\n')
        cls.socket = state / 'socket'
        command = ['containerd', '--config', state / 'config.toml']
        cls.engine = Service(command, state / 'log', ['ctr', '--address', cls.socket, 'version'])
        cls.addClassCleanup(cls.engine.stop)

    def ctr(self, *words):
        return run('ctr', '--address', self.socket, *words)

    def images(self, command, *words):
        return self.ctr('images', command, '--hosts-dir', HOSTS, *words)

    def load(self, layout, entry, name):
        archive = layout.archive(entry, name, self.folder / 'archive.tar')
        self.ctr('images', 'import', archive)
        archive.unlink()

    def remove_all(self):
        """Names and contents, so that the next pull fetches everything."""
        names = self.ctr('images', 'list', '--quiet').split()
        if names:
            self.ctr('images', 'remove', '--sync', *names)

    def run_image(self, name):
        return self.ctr('run', '--rm', name, re.sub(r'\W', '-', name))

    def round_trip(self, layout, entry, repository):
        name = f'{HOST}/{repository}:1'
        self.load(layout, entry, name)
        self.images('push', name)
        self.assertEqual(self.digest(repository, '1'), entry['digest'])
        self.remove_all()
        self.images('pull', name)
        self.assertIn(entry['digest'], self.ctr('images', 'list', f'name=={name}'))
        self.assert_ran(self.run_image(name))
        self.remove_all()

    def test_push_remove_pull_run(self):
        self.round_trip(self.layout, self.image, 'ctr/app')
        self.assert_clean_log()

    def test_docker_format(self):
        layout = Layout(self.folder / 'docker-format')
        self.round_trip(layout, layout.image(root_layers(), docker=True), 'ctr/docker')

    def test_a_large_layer(self):
        layout = Layout(self.folder / 'large')
        self.round_trip(layout, layout.image([*root_layers(), large_layer(LARGE_BYTES)], compress=False), 'ctr/large')

    def test_pushed_again(self):
        name = f'{HOST}/ctr/again:1'
        self.load(self.layout, self.image, name)
        for _ in range(2):
            self.images('push', name)
        self.ctr('images', 'tag', name, f'{HOST}/ctr/elsewhere:1')
        self.images('push', f'{HOST}/ctr/elsewhere:1')
        self.assertEqual(self.digest('ctr/elsewhere', '1'), self.image['digest'])

    def test_all_platforms(self):
        layout = Layout(self.folder / 'all')
        entries = [layout.image(root_layers()[:1], architecture) for architecture in ('amd64', 'arm64')]
        top = layout.tag(layout.index(entries), 'all')
        run('skopeo', 'copy', '--all', '--dest-cert-dir', HOSTS / HOST, f'oci:{layout.folder}:all', f'docker://{HOST}/ctr/all:1')
        name = f'{HOST}/ctr/all:1'
        self.images('pull', '--all-platforms', name)
        self.ctr('images', 'tag', name, f'{HOST}/ctr/all-copy:1')
        self.images('push', f'{HOST}/ctr/all-copy:1')
        answer = self.registry.manifest('ctr/all-copy', '1')
        self.assertEqual((answer['Content-Type'], answer['Docker-Content-Digest']), (OCI_INDEX, top['digest']))
        self.assertEqual(len(json.loads(answer.body)['manifests']), 2)

    def test_what_is_not_there(self):
        with self.assertRaisesRegex(CommandFailed, 'not found'):
            self.images('pull', f'{HOST}/ctr/nothing:1')

    def test_a_stranger_is_not_trusted(self):
        with self.assertRaisesRegex(CommandFailed, 'x509|certificate'):
            self.images('pull', 'stranger.test:5000/ctr/app:1')
