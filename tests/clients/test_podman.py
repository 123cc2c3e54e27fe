"""podman, skopeo and buildah against the registry, over TLS with the authority that orlop trust puts in certs.d: push, remove, pull, run,
copy with digests kept; an index for several platforms, an artifact with a subject, Docker's and OCI's formats."""
import json
from pathlib import Path

from support.clients import HOST, ClientTest, CommandFailed, run
from support.image import Layout, large_layer, root_layers
from support.registry import DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST

LARGE_BYTES = 300 * 1000 * 1000
# What a container gets where the machine allows no higher limits to be set.
LIMITS = ('--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1000:1000')


class ContainersTest(ClientTest):
    programs = ('podman', 'skopeo', 'buildah')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        Path('/etc/containers/policy.json').write_text('{"default":[{"type":"insecureAcceptAnything"}]}')

    def source(self, name='app', layout=None):
        return f'oci:{(layout or self.layout).folder}:{name}'


class SkopeoTest(ContainersTest):
    def copy(self, source, destination, *options):
        return run('skopeo', 'copy', *options, source, destination)

    def inspect_raw(self, name):
        return run('skopeo', 'inspect', '--raw', f'docker://{HOST}/{name}')

    def test_copy_there_and_back(self):
        self.copy(self.source(), f'docker://{HOST}/skopeo/app:1')
        self.assertEqual(self.digest('skopeo/app', '1'), self.image['digest'])
        back = self.folder / 'back'
        self.copy(f'docker://{HOST}/skopeo/app:1', f'oci:{back}:app')
        for part in (self.image, self.layout.manifest(self.image)['config'], *self.layout.manifest(self.image)['layers']):
            name = part['digest'].replace(':', '/')
            self.assertEqual((back / 'blobs' / name).read_bytes(), (self.layout.folder / 'blobs' / name).read_bytes())
        self.assert_clean_log()

    def test_index_with_all_platforms(self):
        layout = Layout(self.folder / 'all')
        entries = [layout.image(root_layers()[:2], architecture) for architecture in ('amd64', 'arm64', 's390x')]
        top = layout.tag(layout.index(entries), 'all')
        self.copy(self.source('all', layout), f'docker://{HOST}/skopeo/all:1', '--all')
        self.assertEqual(self.digest('skopeo/all', '1'), top['digest'])
        self.assertEqual(self.registry.manifest('skopeo/all', '1')['Content-Type'], OCI_INDEX)
        self.copy(f'docker://{HOST}/skopeo/all:1', f'docker://{HOST}/skopeo/all-again:1', '--all')       # mounts its blobs
        self.assertEqual(self.digest('skopeo/all-again', '1'), top['digest'])
        self.copy(f'docker://{HOST}/skopeo/all:1', f'oci:{self.folder / "one"}:x', '--override-arch', 'arm64')

    def test_artifact_with_a_subject(self):
        self.copy(self.source(), f'docker://{HOST}/skopeo/subject:1')
        layout = Layout(self.folder / 'artifact')
        sbom = layout.put('text/spdx+json', b'{"spdx":"yes"}')
        data = {'schemaVersion': 2, 'mediaType': OCI_MANIFEST, 'artifactType': 'application/x-sbom',
                'config': layout.put(OCI_EMPTY, b'{}'), 'layers': [sbom],
                'subject': {key: self.image[key] for key in ('mediaType', 'digest', 'size')}}
        artifact = layout.tag(layout.put(OCI_MANIFEST, json.dumps(data).encode()), 'sbom')
        self.copy(self.source('sbom', layout), f'docker://{HOST}/skopeo/subject:sbom')
        answer = self.registry.request('GET', f'/v2/skopeo/subject/referrers/{self.image["digest"]}')
        self.assertEqual([entry['digest'] for entry in answer.json()['manifests']], [artifact['digest']])

    def test_formats(self):
        for form, media_type in (('v2s2', DOCKER_MANIFEST), ('oci', OCI_MANIFEST)):
            self.copy(self.source(), f'docker://{HOST}/skopeo/{form}:1', '--format', form)
            self.assertEqual(json.loads(self.inspect_raw(f'skopeo/{form}:1'))['mediaType'], media_type)

    def test_schema_1_is_refused(self):
        with self.assertRaises(CommandFailed):
            self.copy(self.source(), f'docker://{HOST}/skopeo/v2s1:1', '--format', 'v2s1')

    def test_tags_and_delete(self):
        for tag in ('b', 'a'):
            self.copy(self.source(), f'docker://{HOST}/skopeo/tags:{tag}')
        listed = json.loads(run('skopeo', 'list-tags', f'docker://{HOST}/skopeo/tags'))
        self.assertEqual(listed['Tags'], ['a', 'b'])
        run('skopeo', 'delete', f'docker://{HOST}/skopeo/tags:a')
        self.assertEqual(self.registry.manifest('skopeo/tags', self.image['digest']).status, 404)

    def test_sync(self):
        self.copy(self.source(), f'docker://{HOST}/skopeo/sync:1')
        run('skopeo', 'sync', '--src', 'docker', '--dest', 'docker', f'{HOST}/skopeo/sync', f'{HOST}/copied')
        self.assertEqual(self.digest('copied/sync', '1'), self.image['digest'])

    def test_a_stranger_is_not_trusted(self):
        with self.assertRaisesRegex(CommandFailed, 'x509|certificate'):
            self.copy(self.source(), 'docker://stranger.test:5000/skopeo/app:1')

    def test_localhost_with_the_switch_for_it(self):
        self.copy(self.source(), 'docker://localhost:5000/skopeo/local:1', '--dest-tls-verify=false')


class PodmanTest(ContainersTest):
    def podman(self, *words):
        state = self.folder / 'podman'
        return run('podman', '--root', state / 'root', '--runroot', state / 'run', '--tmpdir', state / 'tmp', '--runtime', 'runc',
                   '--cgroup-manager', 'cgroupfs', '--events-backend', 'none', *words)

    def run_image(self, name):
        return self.podman('run', '--rm', '--network', 'none', *LIMITS, name)

    def round_trip(self, name, layout, entry):
        archive = layout.archive(entry, 'localhost/app:1', self.folder / 'podman.tar')
        self.podman('load', '--input', archive)
        archive.unlink()
        image = self.podman('images', '--quiet', '--no-trunc').split()[0]
        self.podman('push', 'localhost/app:1', name)
        self.podman('rmi', '--all', '--force')
        self.assertEqual(self.podman('pull', '--quiet', name).strip(), image.removeprefix('sha256:'))
        self.assert_ran(self.run_image(name))
        self.podman('rmi', '--all', '--force')

    def test_push_remove_pull_run(self):
        self.round_trip(f'{HOST}/podman/app:1', self.layout, self.image)
        digest = self.digest('podman/app', '1')
        self.podman('pull', f'{HOST}/podman/app@{digest}')
        self.assert_ran(self.run_image(f'{HOST}/podman/app@{digest}'))

    def test_a_large_layer(self):
        layout = Layout(self.folder / 'large')
        self.round_trip(f'{HOST}/podman/large:1', layout, layout.image([*root_layers(), large_layer(LARGE_BYTES)], compress=False))


class BuildahTest(ContainersTest):
    def buildah(self, *words):
        state = self.folder / 'buildah'
        return run('buildah', '--root', state / 'root', '--runroot', state / 'run', '--storage-driver', 'vfs', *words)

    def test_build_push_remove_pull_run(self):
        run('skopeo', 'copy', self.source(), f'docker://{HOST}/buildah/base:1')
        container = self.buildah('from', f'{HOST}/buildah/base:1').strip()
        self.buildah('run', '--isolation', 'chroot', container, '/bin/sh', '-c', 'echo built >/data/built')
        self.buildah('config', '--cmd', '/bin/busybox cat /data/built', container)
        self.buildah('commit', '--rm', container, f'docker://{HOST}/buildah/app:1')
        self.buildah('rmi', '--all', '--force')
        container = self.buildah('from', f'{HOST}/buildah/app:1').strip()
        self.assertEqual(self.buildah('run', '--isolation', 'chroot', container, '/bin/busybox', 'cat', '/data/built'), 'built\n')

    def test_manifest_list(self):
        run('skopeo', 'copy', self.source(), f'docker://{HOST}/buildah/part:1')
        self.buildah('manifest', 'create', 'list')
        self.buildah('manifest', 'add', 'list', f'docker://{HOST}/buildah/part:1')
        self.buildah('manifest', 'push', '--all', 'list', f'docker://{HOST}/buildah/list:1')
        children = json.loads(self.registry.manifest('buildah/list', '1').body)['manifests']
        self.assertEqual([child['digest'] for child in children], [self.image['digest']])
