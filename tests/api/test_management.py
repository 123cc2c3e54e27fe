"""Content management (distribution-spec, "Content Management"): deleting tags, manifests and blobs, and what stays."""
from support.case import DaemonTest
from support.registry import OCI_INDEX, OCI_MANIFEST, descriptor, digest_of, expect, index, manifest

NONE = digest_of(b'nowhere')


class DeleteTest(DaemonTest):
    def delete(self, what):
        return self.registry.request('DELETE', f'/v2/{self.repository}/{what}')

    def tags(self):
        return self.registry.tags(self.repository).json()['tags']

    def test_a_tag_leaves_its_siblings(self):
        data = self.registry.push_image(self.repository, 'one')
        self.registry.push_manifest(self.repository, 'two', data)
        self.assertEqual(self.delete('manifests/one').status, 202)
        self.assertEqual(self.registry.manifest(self.repository, 'one').status, 404)
        self.assertEqual(self.registry.manifest(self.repository, 'two').body, data)
        self.assertEqual(self.registry.manifest(self.repository, digest_of(data)).body, data)
        self.assertEqual(self.tags(), ['two'])

    def test_a_manifest_takes_its_tags_along(self):
        data = self.registry.push_image(self.repository, 'one')
        self.registry.push_manifest(self.repository, 'two', data)
        other = manifest(b'{}', [])
        self.registry.push_manifest(self.repository, 'three', other)
        self.assertEqual(self.delete(f'manifests/{digest_of(data)}').status, 202)
        for reference in ('one', 'two', digest_of(data)):
            answer = self.registry.manifest(self.repository, reference)
            self.assertEqual((answer.status, answer.error_code()), (404, 'MANIFEST_UNKNOWN'))
        self.assertEqual(self.tags(), ['three'])

    def test_unknown(self):
        self.registry.push_image(self.repository, 'one')
        for what, code in (('manifests/none', 'MANIFEST_UNKNOWN'), (f'manifests/{NONE}', 'MANIFEST_UNKNOWN'), (f'blobs/{NONE}', 'BLOB_UNKNOWN')):
            answer = self.delete(what)
            self.assertEqual((answer.status, answer.error_code()), (404, code))
        self.repository = 't/nobody'
        for what in ('manifests/none', f'manifests/{NONE}', f'blobs/{NONE}'):
            self.assertEqual(self.delete(what).status, 404)

    def test_twice(self):
        data = self.registry.push_image(self.repository, 'one')
        for what in ('manifests/one', f'manifests/{digest_of(data)}'):
            self.assertEqual(self.delete(what).status, 202)
            self.assertEqual(self.delete(what).status, 404)

    def test_a_blob(self):
        digest = self.registry.push_blob(self.repository, b'loose')
        self.registry.push_blob('t/keeper', b'loose')
        self.assertEqual(self.delete(f'blobs/{digest}').status, 202)
        self.assertEqual(self.registry.blob(self.repository, digest).status, 404)
        self.assertEqual(self.registry.blob(self.repository, digest, 'HEAD').status, 404)
        self.assertEqual(self.registry.blob('t/keeper', digest).body, b'loose')
        self.registry.push_blob(self.repository, b'loose')
        self.assertEqual(self.registry.blob(self.repository, digest).body, b'loose')

    def test_a_blob_that_a_manifest_names(self):
        """An accepted manifest keeps what it names: refused, or the manifest would be broken."""
        data = self.registry.push_image(self.repository, 'one', layers=(b'kept',))
        answer = self.delete(f'blobs/{digest_of(b"kept")}')
        self.assertEqual((answer.status, answer.error_code()), (405, 'DENIED'))
        self.assertEqual(self.registry.blob(self.repository, digest_of(b'kept')).body, b'kept')
        self.assertEqual(self.registry.manifest(self.repository, 'one').body, data)

    def test_a_child_of_an_index(self):
        child = self.registry.push_image(self.repository, 'child')
        data = index([descriptor(OCI_MANIFEST, child)])
        self.registry.push_manifest(self.repository, 'index', data, OCI_INDEX)
        expect(self.delete(f'manifests/{digest_of(child)}'), 405)
        self.assertEqual(self.registry.manifest(self.repository, digest_of(child)).status, 200)
        expect(self.delete(f'manifests/{digest_of(data)}'), 202)
        expect(self.delete(f'manifests/{digest_of(child)}'), 202)

    def test_push_after_delete(self):
        for _ in range(3):
            data = self.registry.push_image(self.repository, 'one')
            self.assertEqual(self.registry.manifest(self.repository, 'one').body, data)
            expect(self.delete(f'manifests/{digest_of(data)}'), 202)

    def test_malformed(self):
        for what in ('manifests/sha256:abc', 'manifests/.x', 'blobs/sha256:abc', 'blobs/x'):
            self.assertIn(self.delete(what).status, (400, 404), what)
