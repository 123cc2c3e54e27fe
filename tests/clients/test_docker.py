"""Docker Engine against the registry: push, remove, pull, run, compare; over TLS with the authority trusted as the README says, and on
localhost without. The engine is Debian's, with its own data, socket and containerd; the command that stands first in the PATH may
be a newer one, and is tried too."""
import json
import re
import shutil

from support.clients import HOST, ClientTest, CommandFailed, Service, run
from support.image import Layout, large_layer, root_layers
from support.registry import DOCKER_MANIFEST, OCI_MANIFEST

LARGE_BYTES = 300 * 1000 * 1000


class DockerTest(ClientTest):
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
        run('/usr/bin/docker', '--host', cls.socket, 'load', '-i', cls.layout.archive(cls.image, 'app:1', cls.folder / 'app.tar'))

    def docker(self, *words, client='/usr/bin/docker', **more):
        return run(client, '--host', self.socket, *words, **more)

    def push(self, name, source='app:1', **more):
        self.docker('tag', source, name)
        return self.docker('push', name, **more)

    def remove(self, *names):
        self.docker('rmi', '--force', *names)

    def run_image(self, name):
        return self.docker('run', '--rm', '--network', 'none', name)

    def round_trip(self, name, **more):
        """Push, remove, pull, run; the digest is the same everywhere."""
        pushed = re.search(r'digest: (sha256:\w+)', self.push(name, **more))[1]
        image = self.docker('image', 'inspect', '--format', '{{.Id}}', name)
        self.remove(name)
        pulled = re.search(r'Digest: (sha256:\w+)', self.docker('pull', name, **more))[1]
        self.assertEqual(pulled, pushed)
        self.assertEqual(self.docker('image', 'inspect', '--format', '{{.Id}}', name), image)
        self.assert_ran(self.run_image(name))
        return pushed

    def test_push_remove_pull_run(self):
        digest = self.round_trip(f'{HOST}/team/app:1')
        self.assertEqual(self.digest('team/app', '1'), digest)
        self.assertEqual(self.registry.manifest('team/app', '1')['Content-Type'], DOCKER_MANIFEST)
        by_digest = f'{HOST}/team/app@{digest}'
        self.remove(f'{HOST}/team/app:1')
        self.docker('pull', by_digest)
        self.assert_ran(self.run_image(by_digest))
        self.assert_clean_log()

    def test_localhost_needs_no_trust(self):
        self.round_trip('localhost:5000/local/app:1')

    def test_a_stranger_is_not_trusted(self):
        """The same registry under a name whose authority nobody made known."""
        with self.assertRaisesRegex(CommandFailed, 'x509|certificate'):
            self.push('stranger.test:5000/team/app:1')

    def test_layers_are_pushed_once(self):
        self.push(f'{HOST}/once/app:1')
        self.assertIn('Layer already exists', self.push(f'{HOST}/once/app:2'))
        mounted = self.push(f'{HOST}/another/app:1')
        self.assertRegex(mounted, 'Mounted from|Layer already exists')
        self.assertEqual(self.digest('once/app', '2'), self.digest('another/app', '1'))

    def test_all_tags(self):
        for tag in ('a', 'b', 'c'):
            self.docker('tag', 'app:1', f'{HOST}/all/app:{tag}')
        self.docker('push', '--all-tags', f'{HOST}/all/app')
        self.assertEqual(self.registry.tags('all/app').json()['tags'], ['a', 'b', 'c'])
        self.remove(*(f'{HOST}/all/app:{tag}' for tag in ('a', 'b', 'c')))
        self.docker('pull', '--all-tags', f'{HOST}/all/app')
        self.assert_ran(self.run_image(f'{HOST}/all/app:c'))

    def test_a_newer_client(self):
        newer = shutil.which('docker')
        if not newer or newer == '/usr/bin/docker':
            self.skipTest('no other docker command in the PATH')
        self.round_trip(f'{HOST}/newer/app:1', client=newer)

    def test_an_image_of_several_platforms(self):
        layout = Layout(self.folder / 'platforms')
        other = layout.image(root_layers()[:1], architecture='s390x')
        layout.tag(layout.index([other, layout.image(root_layers())]), 'all')
        run('skopeo', 'copy', '--all', '--dest-cert-dir', f'/etc/docker/certs.d/{HOST}', f'oci:{layout.folder}:all',
            f'docker://{HOST}/platforms/app:1')
        self.docker('pull', f'{HOST}/platforms/app:1')
        self.assert_ran(self.run_image(f'{HOST}/platforms/app:1'))
        self.docker('pull', '--platform', 'linux/s390x', f'{HOST}/platforms/app@{other["digest"]}')
        self.assertEqual(self.registry.manifest('platforms/app', other['digest'])['Content-Type'], OCI_MANIFEST)

    def test_what_is_not_there(self):
        with self.assertRaisesRegex(CommandFailed, 'not found|unknown'):
            self.docker('pull', f'{HOST}/team/nothing:1')
        self.push(f'{HOST}/there/app:1')
        with self.assertRaisesRegex(CommandFailed, 'not found|unknown'):
            self.docker('pull', f'{HOST}/there/app:2')

    def test_a_large_layer(self):
        layout = Layout(self.folder / 'large')
        layers = [*root_layers(), large_layer(LARGE_BYTES)]
        archive = layout.archive(layout.image(layers, compress=False), 'large:1', self.folder / 'large.tar')
        self.docker('load', '-i', archive)
        archive.unlink()
        shutil.rmtree(layout.folder)
        self.round_trip_large(f'{HOST}/large/app:1')

    def round_trip_large(self, name):
        self.push(name, 'large:1')
        layers = json.loads(self.docker('image', 'inspect', '--format', '{{json .RootFS.Layers}}', name))
        self.remove(name, 'large:1')
        self.docker('pull', name)
        self.assertEqual(json.loads(self.docker('image', 'inspect', '--format', '{{json .RootFS.Layers}}', name)), layers)
        self.assert_ran(self.run_image(name))
