"""Pushing (distribution-spec, "Push"): blobs in one request and in chunks, sessions and their state, mounts, manifests and what is
wrong with them."""
import json
import os

from support.case import DaemonTest
from support.registry import (DOCKER_CONFIG, DOCKER_FOREIGN_LAYER, DOCKER_LAYER, DOCKER_LIST, DOCKER_MANIFEST, OCI_EMPTY, OCI_INDEX,
                              OCI_MANIFEST, descriptor, digest_of, expect, index, manifest, with_query)

NONE = digest_of(b'nowhere')


class UploadTest(DaemonTest):
    def assert_created(self, answer, digest):
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer['Docker-Content-Digest'], digest)
        self.assertEqual(answer['Location'], f'/v2/{self.repository}/blobs/{digest}')
        self.assertEqual(answer['Content-Length'], '0')
        self.assertEqual(self.registry.blob(self.repository, digest, 'HEAD').status, 200)

    def test_post_opens_a_session(self):
        for slash in ('', '/'):
            answer = self.registry.request('POST', f'/v2/{self.repository}/blobs/uploads{slash}', [('Content-Length', 0)])
            self.assertEqual((answer.status, answer['Range'], answer['Content-Length']), (202, '0-0', '0'))
            self.assertRegex(answer['Location'], rf'^/v2/{self.repository}/blobs/uploads/[A-Za-z0-9_-]+$')
            self.assertTrue(answer['Location'].endswith(answer['Docker-Upload-UUID']))
            self.assertGreaterEqual(int(answer['OCI-Chunk-Min-Length'] or 1), 1)

    def test_post_without_any_length_and_with_a_type(self):
        """What crane and others send."""
        answer = self.registry.request('POST', f'/v2/{self.repository}/blobs/uploads/', [('Content-Type', 'application/json')])
        self.assertEqual(answer.status, 202)

    def test_post_then_put(self):
        for blob in (b'', b'x', os.urandom(100_000), os.urandom(3 << 20)):
            digest = digest_of(blob)
            place = self.registry.begin_upload(self.repository)
            self.assert_created(self.registry.request('PUT', with_query(place, 'digest', digest), (), blob), digest)
            self.assertEqual(self.registry.blob(self.repository, digest).body, blob)
            answer = self.registry.request('GET', place)
            self.assertEqual((answer.status, answer.error_code()), (404, 'BLOB_UPLOAD_UNKNOWN'))

    def test_single_post(self):
        for blob in (b'', b'x', os.urandom(100_000)):
            digest = digest_of(blob)
            answer = self.registry.request('POST', f'/v2/{self.repository}/blobs/uploads/?digest={digest}', (), blob)
            self.assert_created(answer, digest)

    def test_percent_encoded_digest_in_the_query(self):
        blob = b'encoded'
        place = self.registry.begin_upload(self.repository)
        target = with_query(place, 'digest', digest_of(blob).replace(':', '%3A'))
        self.assert_created(self.registry.request('PUT', target, (), blob), digest_of(blob))

    def test_streamed_patch(self):
        """As docker pushes: one PATCH without a length, then PUT without a body."""
        blob = os.urandom(200_000)
        place = self.registry.begin_upload(self.repository)
        connection = self.connect()
        connection.send(connection.head('PATCH', place, [('Transfer-Encoding', 'chunked'),
                                                         ('Content-Type', 'application/octet-stream')]))
        for i in range(0, len(blob), 32768):
            connection.send(b'%x\r\n%s\r\n' % (len(blob[i:i + 32768]), blob[i:i + 32768]))
        connection.send(b'0\r\n\r\n')
        answer = connection.response()
        self.assertEqual((answer.status, answer['Range']), (202, f'0-{len(blob) - 1}'))
        self.assertTrue(answer['Docker-Upload-UUID'])
        answer = connection.request('PUT', with_query(answer['Location'], 'digest', digest_of(blob)), (), b'')
        self.assert_created(answer, digest_of(blob))

    def test_an_empty_patch_says_0_0(self):
        place = self.registry.begin_upload(self.repository)
        self.assertEqual(self.registry.request('PATCH', place, (), b'')['Range'], '0-0')

    def test_chunks_with_content_range(self):
        blob = os.urandom(100_003)
        place = self.registry.begin_upload(self.repository)
        for first in range(0, 90_000, 30_000):
            answer = self.registry.request('PATCH', place, [('Content-Range', f'{first}-{first + 29_999}')], blob[first:first + 30_000])
            self.assertEqual((answer.status, answer['Range']), (202, f'0-{first + 29_999}'))
            place = answer['Location']
            answer = self.registry.request('GET', place)
            self.assertEqual((answer.status, answer['Range']), (204, f'0-{first + 29_999}'))
            self.assertTrue(answer['Location'])
        target = with_query(place, 'digest', digest_of(blob))
        answer = self.registry.request('PUT', target, [('Content-Range', f'90000-{len(blob) - 1}')], blob[90_000:])
        self.assert_created(answer, digest_of(blob))

    def test_chunks_in_the_wrong_place_get_the_true_state(self):
        blob = os.urandom(1000)
        place = self.registry.begin_upload(self.repository)
        expect(self.registry.request('PATCH', place, [('Content-Range', '0-99')], blob[:100]), 202)
        for content_range, data in (('0-99', blob[:100]), ('50-149', blob[50:150]), ('101-199', blob[101:200]),
                                    ('100-150', blob[100:200]), ('100-99', b'x'), ('x-y', b'x'), ('100', b'x')):
            for method, target in (('PATCH', place), ('PUT', with_query(place, 'digest', digest_of(blob)))):
                answer = self.registry.request(method, target, [('Content-Range', content_range)], data)
                self.assertEqual((answer.status, answer['Range'], answer['Location']), (416, '0-99', place), content_range)
                self.assertTrue(answer.message())
        answer = self.registry.request('PUT', with_query(place, 'digest', digest_of(blob)), [('Content-Range', '100-999')], blob[100:])
        self.assertEqual(answer.status, 201)

    def test_patch_then_put_with_the_last_part(self):
        blob = os.urandom(5000)
        place = self.registry.begin_upload(self.repository)
        expect(self.registry.request('PATCH', place, (), blob[:2000]), 202)
        expect(self.registry.request('PATCH', place, (), blob[2000:2001]), 202)
        self.assert_created(self.registry.request('PUT', with_query(place, 'digest', digest_of(blob)), (), blob[2001:]), digest_of(blob))

    def test_put_without_a_length(self):
        blob = os.urandom(5000)
        place = self.registry.begin_upload(self.repository)
        connection = self.connect()
        connection.send(connection.head('PUT', with_query(place, 'digest', digest_of(blob)), [('Transfer-Encoding', 'chunked')]) +
                        b'1388\r\n' + blob + b'\r\n0\r\n\r\n')
        self.assert_created(connection.response(), digest_of(blob))

    def test_wrong_digest(self):
        place = self.registry.begin_upload(self.repository)
        answer = self.registry.request('PUT', with_query(place, 'digest', NONE), (), b'something else')
        self.assertEqual((answer.status, answer.error_code()), (400, 'DIGEST_INVALID'))
        self.assertEqual(self.registry.blob(self.repository, NONE).status, 404)
        self.assertEqual(self.registry.blob(self.repository, digest_of(b'something else')).status, 404)
        answer = self.registry.request('POST', f'/v2/{self.repository}/blobs/uploads/?digest={NONE}', (), b'x')
        self.assertEqual((answer.status, answer.error_code()), (400, 'DIGEST_INVALID'))

    def test_missing_and_malformed_digest(self):
        place = self.registry.begin_upload(self.repository)
        for target in (place, with_query(place, 'digest', ''), with_query(place, 'digest', 'sha256:abc'),
                       with_query(place, 'digest', 'md5:d41d8cd98f00b204e9800998ecf8427e')):
            answer = self.registry.request('PUT', target, (), b'x')
            self.assertEqual((answer.status, answer.error_code()), (400, 'DIGEST_INVALID'), target)

    def test_unknown_sessions(self):
        place = self.registry.begin_upload(self.repository)
        other = place.replace(self.repository, 't/elsewhere')
        for target in (f'/v2/{self.repository}/blobs/uploads/nothing', place[:-1] + ('a' if place[-1] != 'a' else 'b'), other):
            for method in ('GET', 'PATCH', 'PUT', 'DELETE'):
                query = f'?digest={NONE}' if method == 'PUT' else ''
                answer = self.registry.request(method, target + query, (), None if method == 'GET' else b'')
                self.assertEqual((answer.status, answer.error_code()), (404, 'BLOB_UPLOAD_UNKNOWN'), f'{method} {target}')

    def test_cancel(self):
        place = self.registry.begin_upload(self.repository)
        expect(self.registry.request('PATCH', place, (), b'x' * 10000), 202)
        self.assertEqual(self.registry.request('DELETE', place).status, 204)
        self.assertEqual(self.registry.request('GET', place).status, 404)
        self.assertEqual(self.registry.request('DELETE', place).status, 404)

    def test_the_session_is_fresh_for_every_post(self):
        self.assertNotEqual(self.registry.begin_upload(self.repository), self.registry.begin_upload(self.repository))

    def test_pushing_again_is_no_error(self):
        for _ in range(3):
            self.registry.push_blob(self.repository, b'again')

    def test_digest_algorithms(self):
        blob = os.urandom(50_000)
        for algorithm in ('sha256', 'sha512'):
            digest = digest_of(blob, algorithm)
            place = self.registry.begin_upload(self.repository, f'?digest-algorithm={algorithm}')
            expect(self.registry.request('PATCH', place, (), blob[:20_000]), 202)
            self.assert_created(self.registry.request('PUT', with_query(place, 'digest', digest), (), blob[20_000:]), digest)
        answer = self.registry.request('POST', f'/v2/{self.repository}/blobs/uploads/?digest-algorithm=md5', (), b'')
        self.assertEqual(answer.status, 400)

    def test_another_algorithm_at_the_end_than_at_the_beginning(self):
        blob = os.urandom(50_000)
        place = self.registry.begin_upload(self.repository)
        expect(self.registry.request('PATCH', place, (), blob), 202)
        digest = digest_of(blob, 'sha512')
        self.assert_created(self.registry.request('PUT', with_query(place, 'digest', digest), (), b''), digest)


class MountTest(DaemonTest):
    def mount(self, query):
        return self.registry.request('POST', f'/v2/{self.repository}/blobs/uploads/?{query}', (), b'')

    def test_mount(self):
        digest = self.registry.push_blob('t/source', b'to mount')
        answer = self.mount(f'mount={digest}&from=t/source')
        self.assertEqual((answer.status, answer['Docker-Content-Digest']), (201, digest))
        self.assertEqual(answer['Location'], f'/v2/{self.repository}/blobs/{digest}')
        self.assertEqual(self.registry.blob(self.repository, digest).body, b'to mount')

    def test_mount_with_an_encoded_source_and_an_origin(self):
        digest = self.registry.push_blob('t/source', b'to mount 2')
        self.assertEqual(self.mount(f'mount={digest.replace(":", "%3A")}&from=t%2Fsource&origin=x').status, 201)

    def test_mount_without_a_source(self):
        digest = self.registry.push_blob('t/source', b'to mount 3')
        self.assertEqual(self.mount(f'mount={digest}').status, 201)

    def test_what_cannot_be_mounted_gets_a_session(self):
        self.registry.push_blob('t/source', b'there')
        for query in (f'mount={NONE}&from=t/source', f'mount={NONE}&from=t/nobody', f'mount={NONE}', f'mount={NONE}&from='):
            answer = self.mount(query)
            self.assertEqual(answer.status, 202, query)
            blob = query.encode()
            target = with_query(answer['Location'], 'digest', digest_of(blob))
            self.assertEqual(self.registry.request('PUT', target, (), blob).status, 201)

    def test_a_blob_that_the_source_does_not_have(self):
        """It is in the store, but not in the repository that was named."""
        digest = self.registry.push_blob('t/third', b'elsewhere')
        self.registry.push_blob('t/source', b'there')
        self.assertIn(self.mount(f'mount={digest}&from=t/source').status, (201, 202))

    def test_malformed_digest(self):
        answer = self.mount('mount=sha256:abc&from=t/source')
        self.assertEqual((answer.status, answer.error_code()), (400, 'DIGEST_INVALID'))


class ManifestTest(DaemonTest):
    def put(self, data, media_type=OCI_MANIFEST, reference='one'):
        headers = [('Content-Type', media_type)] if media_type else []
        return self.registry.request('PUT', f'/v2/{self.repository}/manifests/{reference}', headers, data)

    def setUp(self):
        super().setUp()
        for blob in (b'{}', b'layer'):
            self.registry.push_blob(self.repository, blob)
        self.good = manifest(b'{}', [b'layer'])

    def assert_refused(self, data, code='MANIFEST_INVALID', media_type=OCI_MANIFEST, reference='one', status=400):
        answer = self.put(data, media_type, reference)
        self.assertEqual((answer.status, answer.error_code()), (status, code), answer)
        self.assertTrue(answer.message())

    def test_by_tag_and_by_digest(self):
        for reference in ('one', digest_of(self.good), digest_of(self.good, 'sha512')):
            answer = self.put(self.good, reference=reference)
            digest = reference if ':' in reference else digest_of(self.good)
            self.assertEqual((answer.status, answer['Docker-Content-Digest']), (201, digest))
            self.assertEqual(answer['Location'], f'/v2/{self.repository}/manifests/{digest}')
            self.assertEqual(self.registry.manifest(self.repository, reference).body, self.good)

    def test_bytes_stay_as_they_are(self):
        data = self.good.replace(b'": ', b'" :  ').replace(b'{"schema', b'\n{ "schema') + b'\n\n'
        expect(self.put(data), 201)
        answer = self.registry.manifest(self.repository, 'one')
        self.assertEqual((answer.body, answer['Docker-Content-Digest']), (data, digest_of(data)))

    def test_media_types(self):
        docker = manifest(b'{}', [b'layer'], DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER)
        expect(self.put(docker, DOCKER_MANIFEST, 'docker'), 201)
        expect(self.put(index([descriptor(DOCKER_MANIFEST, docker)], DOCKER_LIST), DOCKER_LIST, 'list'), 201)
        expect(self.put(index([descriptor(DOCKER_MANIFEST, docker)]), OCI_INDEX, 'index'), 201)
        expect(self.put(index([]), OCI_INDEX, 'empty'), 201)
        expect(self.put(self.good, OCI_MANIFEST + '; charset=utf-8', 'parameter'), 201)
        for reference, want in (('docker', DOCKER_MANIFEST), ('list', DOCKER_LIST), ('index', OCI_INDEX), ('parameter', OCI_MANIFEST)):
            self.assertEqual(self.registry.manifest(self.repository, reference)['Content-Type'], want)

    def test_without_content_type(self):
        """The manifest's own mediaType speaks then."""
        self.assertIn(self.put(self.good, None).status, (201, 400))

    def test_artifacts(self):
        self.registry.push_blob(self.repository, b'sbom')
        artifact = manifest(b'{}', [b'sbom'], config_type=OCI_EMPTY, layer_type='text/spdx', artifactType='application/x-sbom')
        expect(self.put(artifact), 201)
        expect(self.put(manifest(b'{}', [b'sbom'], config_type='application/vnd.example.config+json')), 201)
        expect(self.put(manifest(b'{}', [])), 201)
        expect(self.put(manifest(b'{}', [b'layer'], annotations={'a': 'ä'}, custom={'x': [1, None, 1.5]})), 201)

    def test_foreign_layers_need_not_be_here(self):
        foreign = {'mediaType': DOCKER_FOREIGN_LAYER, 'digest': NONE, 'size': 7, 'urls': ['https://elsewhere.example/x']}
        data = json.loads(manifest(b'{}', [b'layer'], DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER))
        data['layers'].insert(0, foreign)
        expect(self.put(json.dumps(data).encode(), DOCKER_MANIFEST), 201)

    def test_all_that_is_named_must_be_here(self):
        for data, media_type in ((manifest(b'{"not":"here"}', [b'layer']), OCI_MANIFEST),
                                 (manifest(b'{}', [b'not here']), OCI_MANIFEST),
                                 (index([descriptor(OCI_MANIFEST, b'not here')]), OCI_INDEX),
                                 (index([descriptor(OCI_MANIFEST, b'not here')], DOCKER_LIST), DOCKER_LIST)):
            answer = self.put(data, media_type)
            self.assertIn(answer.status, (400, 404))
            self.assertEqual(answer.error_code(), 'MANIFEST_BLOB_UNKNOWN')
            self.assertEqual(self.registry.manifest(self.repository, 'one').status, 404)

    def test_a_blob_of_another_repository_is_not_here(self):
        self.registry.push_blob('t/elsewhere', b'there only')
        self.assertEqual(self.put(manifest(b'{}', [b'there only'])).error_code(), 'MANIFEST_BLOB_UNKNOWN')

    def test_sizes_must_be_true(self):
        for size in (4, 6, 1 << 60):
            data = json.loads(self.good)
            data['layers'][0]['size'] = size
            answer = self.put(json.dumps(data).encode())
            self.assertEqual(answer.status, 400, size)
            self.assertIn(answer.error_code(), ('MANIFEST_INVALID', 'SIZE_INVALID'))

    def test_malformed(self):
        rows = [b'', b'x', b'{', b'[]', b'null', b'{}', b'{"schemaVersion":2}', b'\xff\xfe', self.good[:-1], self.good + b'x',
                self.good.replace(b'"schemaVersion": 2', b'"schemaVersion": 3'), self.good.replace(b'sha256:', b'sha256'),
                self.good.replace(b'"size": 5', b'"size": -5'), self.good.replace(b'"size": 5', b'"size": "5"'),
                self.good.replace(b'"size": 5', b'"size": 5.5'), self.good.replace(b'"layers": [', b'"layers": [1, '),
                b'[' * 100_000, b'{"a":' * 50_000]
        for data in rows:
            with self.subTest(data[:40]):
                answer = self.put(data)
                self.assertEqual(answer.status, 400)
                self.assertIn(answer.error_code(), ('MANIFEST_INVALID', 'DIGEST_INVALID', 'SIZE_INVALID'))
        self.assert_alive()

    def test_media_type_must_be_that_of_the_manifest(self):
        self.assert_refused(self.good, media_type=DOCKER_MANIFEST)
        self.assert_refused(self.good, media_type=OCI_INDEX)

    def test_schema_1_is_refused_in_words(self):
        data = json.dumps({'schemaVersion': 1, 'name': 'a', 'tag': 'b', 'fsLayers': [{'blobSum': NONE}], 'history': []}).encode()
        for media_type in ('application/vnd.docker.distribution.manifest.v1+json',
                           'application/vnd.docker.distribution.manifest.v1+prettyjws'):
            answer = self.put(data, media_type)
            self.assertEqual((answer.status, answer.error_code()), (400, 'MANIFEST_INVALID'))
            self.assertRegex(answer.message(), '(?i)schema')

    def test_wrong_digest(self):
        self.assert_refused(self.good, 'DIGEST_INVALID', reference=NONE)
        self.assert_refused(self.good, 'DIGEST_INVALID', reference='sha256:abc')

    def test_malformed_tag(self):
        for tag in ('.x', '-x', 'a' * 129, 'a%2Fb', 'ä'.encode().decode('latin-1'), 'a%20b'):
            answer = self.put(self.good, reference=tag)
            self.assertIn(answer.status, (400, 404), tag)
            self.assertIn(answer.error_code(), ('TAG_INVALID', 'MANIFEST_INVALID', 'NAME_UNKNOWN', 'UNSUPPORTED'))

    def test_malformed_name(self):
        answer = self.registry.request('PUT', '/v2/Upper/manifests/one', [('Content-Type', OCI_MANIFEST)], self.good)
        self.assertEqual((answer.status, answer.error_code()), (400, 'NAME_INVALID'))

    def test_tags_beside_a_digest(self):
        target = f'/v2/{self.repository}/manifests/{digest_of(self.good)}?tag=b&tag=a&tag=c%2B'.replace('%2B', '')
        answer = self.registry.request('PUT', target, [('Content-Type', OCI_MANIFEST)], self.good)
        self.assertEqual(answer.status, 201)
        self.assertEqual(sorted(answer.all('OCI-Tag')), ['a', 'b', 'c'])
        self.assertEqual(self.registry.tags(self.repository).json()['tags'], ['a', 'b', 'c'])

    def test_subject(self):
        subject = descriptor(OCI_MANIFEST, b'not pushed yet')
        answer = self.put(manifest(b'{}', [b'layer'], subject=subject))
        self.assertEqual((answer.status, answer['OCI-Subject']), (201, subject['digest']))
        self.assertIsNone(self.put(self.good)['OCI-Subject'])

    def test_a_tag_moves(self):
        expect(self.put(self.good), 201)
        other = manifest(b'{}', [])
        expect(self.put(other), 201)
        self.assertEqual(self.registry.manifest(self.repository, 'one').body, other)
        self.assertEqual(self.registry.manifest(self.repository, digest_of(self.good)).body, self.good)

    def test_data_in_descriptors(self):
        data = json.loads(self.good)
        data['config']['data'] = 'e30='
        expect(self.put(json.dumps(data).encode()), 201)

    def test_nested_index(self):
        expect(self.put(self.good), 201)
        inner = index([descriptor(OCI_MANIFEST, self.good)])
        expect(self.put(inner, OCI_INDEX, digest_of(inner)), 201)
        expect(self.put(index([descriptor(OCI_INDEX, inner), descriptor(OCI_MANIFEST, self.good)]), OCI_INDEX, 'outer'), 201)

    def test_a_layer_type_that_nobody_knows(self):
        expect(self.put(manifest(b'{}', [b'layer'], layer_type='application/x-unknown')), 201)
