"""Pulling (distribution-spec, "Pull"): what is in the answers to GET and HEAD of blobs and manifests, and their errors."""
from support.case import DaemonTest
from support.registry import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, descriptor, digest_of, index

NONE = digest_of(b'nowhere')


class BaseTest(DaemonTest):
    def test_both_forms_of_the_base(self):
        for target in ('/v2', '/v2/'):
            for method in ('GET', 'HEAD'):
                answer = self.registry.request(method, target)
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer['Content-Type'], 'application/json')

    def test_ns_is_ignored(self):
        """Mirrors: containerd adds ?ns= to every request."""
        self.registry.push_image(self.repository, 'one')
        for target in ('/v2/', f'/v2/{self.repository}/manifests/one', f'/v2/{self.repository}/blobs/{digest_of(b"layer")}',
                       f'/v2/{self.repository}/tags/list'):
            self.assertEqual(self.registry.request('GET', f'{target}?ns=docker.io').status, 200)

    def test_preflight_needs_nothing(self):
        for target in ('/v2/', f'/v2/{self.repository}/manifests/one', f'/v2/{self.repository}/blobs/uploads/'):
            answer = self.registry.request('OPTIONS', target, [('Origin', 'https://a'), ('Access-Control-Request-Method', 'GET')])
            self.assertIn(answer.status, (200, 204))
            self.assertEqual(answer.body, b'')

    def test_pages_for_people_and_machines(self):
        answer = self.registry.request('GET', '/', [('Accept', 'text/html')])
        self.assertRegex(answer['Content-Type'], '^text/html')
        self.assertIn(b'docker push', answer.body)
        self.assertIn(b'docker push', self.registry.request('GET', '/').body)
        self.assertEqual(self.registry.request('GET', '/healthz').status, 200)
        self.assertEqual(self.registry.request('GET', '/readyz').status, 200)

    def test_the_page_does_not_repeat_what_a_stranger_wrote(self):
        for host in ('<script>alert(1)</script>', '"><script>', "a'onload='x", '&lt;script&gt;'):
            answer = self.registry.request('GET', '/', [('Accept', 'text/html'), ('Host', host)])
            if answer.status == 200:
                self.assertNotIn(b'<script>', answer.body)
            else:                                       # JSON, which no browser takes for a page
                self.assertEqual((answer.status, answer['Content-Type']), (400, 'application/json'))


class BlobTest(DaemonTest):
    def test_headers(self):
        for blob in (b'', b'x', b'x' * 5000, b'x' * 100_000):
            digest = self.registry.push_blob(self.repository, blob)
            for method in ('GET', 'HEAD'):
                answer = self.registry.blob(self.repository, digest, method)
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer['Content-Length'], str(len(blob)))
                self.assertEqual(answer['Docker-Content-Digest'], digest)
                self.assertEqual(answer['ETag'], f'"{digest}"')
                self.assertEqual(answer['Accept-Ranges'], 'bytes')
                self.assertEqual(answer['Content-Type'], 'application/octet-stream')
                self.assertRegex(answer['Cache-Control'], r'max-age=31536000')
                self.assertIn('immutable', answer['Cache-Control'])
                self.assertIsNone(answer['Content-Encoding'])
            self.assertEqual(self.registry.blob(self.repository, digest).body, blob)

    def test_accept_encoding_changes_nothing(self):
        digest = self.registry.push_blob(self.repository, b'x' * 10000)
        answer = self.registry.blob(self.repository, digest, headers=[('Accept-Encoding', 'zstd;q=1.0, gzip;q=0.8')])
        self.assertEqual((answer['Content-Encoding'], answer.body), (None, b'x' * 10000))

    def test_unknown(self):
        self.registry.push_image(self.repository, 'one')
        answer = self.registry.blob(self.repository, NONE)
        self.assertEqual((answer.status, answer.error_code()), (404, 'BLOB_UNKNOWN'))
        self.assertEqual(self.registry.blob(self.repository, NONE, 'HEAD').status, 404)
        answer = self.registry.blob('t/nobody', NONE)
        self.assertEqual(answer.status, 404)
        self.assertIn(answer.error_code(), ('BLOB_UNKNOWN', 'NAME_UNKNOWN'))

    def test_a_blob_of_another_repository_is_not_here(self):
        digest = self.registry.push_blob('t/owner', b'not everywhere')
        self.registry.push_blob(self.repository, b'here')
        self.assertEqual(self.registry.blob(self.repository, digest).status, 404)
        self.assertEqual(self.registry.blob(self.repository, digest, 'HEAD').status, 404)

    def test_malformed_digests(self):
        for digest in ('sha256:abc', 'sha256:' + 'g' * 64, 'sha256', 'md5:' + 'a' * 32, 'sha256:' + 'A' * 64, ':', 'sha256:' + 'a' * 65,
                       'x' * 5000):
            answer = self.registry.blob(self.repository, digest)
            self.assertIn(answer.status, (400, 404), digest)
            self.assertTrue(answer.error_code())

    def test_percent_encoded_digest_and_name(self):
        digest = self.registry.push_blob(self.repository, b'x')
        self.assertEqual(self.registry.blob(self.repository, digest.replace(':', '%3A')).status, 200)
        self.assertEqual(self.registry.blob(self.repository, digest.replace(':', '%3a')).status, 200)
        self.assertEqual(self.registry.blob(self.repository.replace('/', '%2F'), digest).status, 200)

    def test_sha512(self):
        digest = self.registry.push_blob(self.repository, b'x' * 10000, 'sha512')
        answer = self.registry.blob(self.repository, digest)
        self.assertEqual((answer.status, answer['Docker-Content-Digest'], answer.body), (200, digest, b'x' * 10000))


class ManifestTest(DaemonTest):
    def test_headers(self):
        data = self.registry.push_image(self.repository, 'one')
        for reference in ('one', digest_of(data)):
            for method in ('GET', 'HEAD'):
                answer = self.registry.manifest(self.repository, reference, method)
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer['Content-Type'], OCI_MANIFEST)
                self.assertEqual(answer['Content-Length'], str(len(data)))
                self.assertEqual(answer['Docker-Content-Digest'], digest_of(data))
                self.assertEqual(answer['ETag'], f'"{digest_of(data)}"')
                self.assertIsNone(answer['Content-Encoding'])
            self.assertEqual(self.registry.manifest(self.repository, reference).body, data)

    def test_accept_is_no_condition(self):
        """Clients list what they know; what was pushed is what they get."""
        data = self.registry.push_image(self.repository, 'one')
        for accept in (DOCKER_MANIFEST, OCI_INDEX, '*/*', 'text/html'):
            answer = self.registry.manifest(self.repository, 'one', headers=[('Accept', accept), ('Accept', OCI_MANIFEST)])
            self.assertEqual((answer.status, answer['Content-Type'], answer.body), (200, OCI_MANIFEST, data))

    def test_unknown(self):
        answer = self.registry.manifest('t/nobody', 'one')
        self.assertEqual(answer.status, 404)
        self.assertIn(answer.error_code(), ('NAME_UNKNOWN', 'MANIFEST_UNKNOWN'))
        self.registry.push_image(self.repository, 'one')
        for reference in ('two', NONE):
            answer = self.registry.manifest(self.repository, reference)
            self.assertEqual((answer.status, answer.error_code()), (404, 'MANIFEST_UNKNOWN'))
            self.assertEqual(self.registry.manifest(self.repository, reference, 'HEAD').status, 404)

    def test_malformed_references(self):
        for reference in ('sha256:abc', '.one', '-one', 'a' * 129, 'a%20b', 'a%0ab'):
            answer = self.registry.manifest(self.repository, reference)
            self.assertIn(answer.status, (400, 404), reference)
            self.assertTrue(answer.error_code())

    def test_the_longest_names(self):
        name = ('a' * 50 + '/') * 4 + 'b' * 20
        data = self.registry.push_image(name, 'T' * 128)
        self.assertEqual(self.registry.manifest(name, 'T' * 128).body, data)

    def test_malformed_names(self):
        for name in ('A', 'a//b', '-a', 'a-', 'a..b', 'a/./b', 'a/../b', 'a' * 300, '%41', 'a%00', 'a b'.replace(' ', '%20'), '_a'):
            for target in (f'/v2/{name}/manifests/one', f'/v2/{name}/tags/list'):
                answer = self.registry.request('GET', target)
                self.assertIn(answer.status, (400, 404), target)
                self.assertTrue(answer.error_code())

    def test_names_that_look_like_endpoints(self):
        for name in ('manifests', 'blobs/uploads', 'a/tags/list', 'a/manifests/b', 'a/blobs/b', 'v2', 'referrers/x', '0', 'a__b.c-d'):
            data = self.registry.push_image(name, 'one')
            self.assertEqual(self.registry.manifest(name, 'one').body, data, name)
            self.assertEqual(self.registry.tags(name).json(), {'name': name, 'tags': ['one']})

    def test_index_and_its_children(self):
        children = [self.registry.push_image(self.repository, digest_of_image, layers=(layer,))
                    for digest_of_image, layer in (('amd64', b'one'), ('arm64', b'two'))]
        data = index([descriptor(OCI_MANIFEST, child) for child in children])
        self.registry.push_manifest(self.repository, 'all', data, OCI_INDEX)
        answer = self.registry.manifest(self.repository, 'all')
        self.assertEqual((answer['Content-Type'], answer.body), (OCI_INDEX, data))
