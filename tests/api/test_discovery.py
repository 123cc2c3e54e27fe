"""Content discovery (distribution-spec, "Content Discovery"): tags, the catalog, referrers; their pages and their order."""
import re

from support.case import DaemonTest
from support.registry import OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, descriptor, digest_of, expect, index, manifest

NONE = digest_of(b'nowhere')


def next_page(answer):
    """The target of Link: rel="next", or None."""
    link = answer['Link']
    return re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', link)[1] if link else None


class TagsTest(DaemonTest):
    def pages(self, target):
        result = []
        while target:
            answer = self.registry.request('GET', target)
            self.assertEqual(answer.status, 200)
            result.append(answer.json()['tags'])
            target = next_page(answer)
        return result

    def push_tags(self, names):
        data = self.registry.push_image(self.repository, names[0])
        for name in names[1:]:
            self.registry.push_manifest(self.repository, name, data)

    def test_order_and_pages(self):
        names = ['b', 'a', 'A', '_x', '10', '9', 'a.b', 'a-b', 'Z' * 128]
        self.push_tags(names)
        want = sorted(names)                            # by bytes, as the specification says
        base = f'/v2/{self.repository}/tags/list'
        answer = self.registry.request('GET', base)
        self.assertEqual(answer['Content-Type'], 'application/json')
        self.assertEqual(answer.json(), {'name': self.repository, 'tags': want})
        self.assertIsNone(answer['Link'])
        for n in range(1, len(names) + 2):
            pages = self.pages(f'{base}?n={n}')
            self.assertEqual([tag for page in pages for tag in page], want, n)
            self.assertTrue(all(len(page) == n for page in pages[:-1]))
            self.assertTrue(pages[-1], 'an empty last page')
        self.assertEqual(self.registry.request('GET', f'{base}?n=0').json()['tags'], [])
        self.assertIsNone(self.registry.request('GET', f'{base}?n=0')['Link'])
        self.assertEqual(self.registry.request('GET', f'{base}?last=a').json()['tags'], [tag for tag in want if tag > 'a'])
        self.assertEqual(self.registry.request('GET', f'{base}?n=2&last=a.').json()['tags'], [tag for tag in want if tag > 'a.'][:2])
        self.assertEqual(self.registry.request('GET', f'{base}?last=zzz').json()['tags'], [])

    def test_absurd_parameters(self):
        self.push_tags(['a'])
        base = f'/v2/{self.repository}/tags/list'
        for query, statuses in (('n=-1', (400,)), ('n=x', (400,)), ('n=99999999999999999999', (200, 400)), ('n=10000000', (200,)),
                                ('n=', (200, 400)), ('last=%ff', (200, 400)), ('last=' + 'x' * 5000, (200, 400)), ('last=%zz', (200, 400)),
                                ('n=1&n=2', (200, 400)), ('&&=&', (200,))):
            self.assertIn(self.registry.request('GET', f'{base}?{query}').status, statuses, query)

    def test_unknown_repository(self):
        answer = self.registry.tags('t/nobody')
        self.assertEqual((answer.status, answer.error_code()), (404, 'NAME_UNKNOWN'))

    def test_tags_are_never_null(self):
        data = self.registry.push_image(self.repository, 'one')
        expect(self.registry.request('DELETE', f'/v2/{self.repository}/manifests/one'), 202)
        answer = self.registry.tags(self.repository)
        self.assertEqual((answer.status, answer.json()['tags']), (200, []))
        self.assertEqual(self.registry.manifest(self.repository, digest_of(data)).status, 200)


class CatalogTest(DaemonTest):
    def test_order_pages_and_what_is_not_listed(self):
        names = ['a', 'a/b', 'a-b', 'b', 'a/b/c', '0']
        for name in names:
            self.registry.push_image(name, 'one')
        self.registry.begin_upload('only/begun')
        self.registry.push_image('emptied', 'one')
        data = manifest(b'{}', [b'layer'])
        expect(self.registry.request('DELETE', f'/v2/emptied/manifests/{digest_of(data)}'), 202)
        want = sorted(names)
        answer = self.registry.request('GET', '/v2/_catalog')
        listed = answer.json()['repositories']
        self.assertEqual([name for name in listed if name != 'emptied'], want)
        self.assertNotIn('only/begun', listed)
        pages, target = [], '/v2/_catalog?n=2'
        while target:
            answer = expect(self.registry.request('GET', target), 200)
            pages += answer.json()['repositories']
            target = next_page(answer)
        self.assertEqual(pages, listed)
        self.assertEqual(self.registry.request('GET', '/v2/_catalog?last=a/b').json()['repositories'],
                         [name for name in listed if name > 'a/b'])


class ReferrersTest(DaemonTest):
    def referrers(self, digest, query=''):
        answer = self.registry.request('GET', f'/v2/{self.repository}/referrers/{digest}{query}')
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer['Content-Type'], OCI_INDEX)
        value = answer.json()
        self.assertEqual((value['schemaVersion'], value['mediaType']), (2, OCI_INDEX))
        return answer, value['manifests']

    def pages(self, query):
        """The digests of each page."""
        result, target = [], f'/v2/{self.repository}/referrers/{digest_of(self.subject)}?{query}'
        while target:
            answer = expect(self.registry.request('GET', target), 200)
            self.assertEqual(answer['OCI-Filters-Applied'], 'artifactType')
            result.append([entry['digest'] for entry in answer.json()['manifests']])
            target = next_page(answer)
        return result

    def push_artifact(self, subject, kind, name, **more):
        data = manifest(b'{}', [b'layer'], config_type=OCI_EMPTY, subject=descriptor(OCI_MANIFEST, subject), artifactType=kind,
                        annotations={'name': name}, **more)
        self.registry.push_manifest(self.repository, digest_of(data), data)
        return data

    def setUp(self):
        super().setUp()
        self.subject = self.registry.push_image(self.repository, 'one')

    def test_nothing_is_an_empty_index(self):
        self.assertEqual(self.referrers(digest_of(self.subject))[1], [])
        self.assertEqual(self.referrers(NONE)[1], [])
        self.repository = 't/nobody'
        self.assertEqual(self.referrers(NONE)[1], [])

    def test_malformed_digest(self):
        for digest in ('one', 'sha256:abc', 'md5:d41d8cd98f00b204e9800998ecf8427e'):
            answer = self.registry.request('GET', f'/v2/{self.repository}/referrers/{digest}')
            self.assertEqual((answer.status, answer.error_code()), (400, 'DIGEST_INVALID'), digest)

    def test_what_is_in_a_descriptor(self):
        artifact = self.push_artifact(self.subject, 'application/x-sbom', 'one')
        by_config = manifest(b'{}', [b'layer'], config_type='application/x-config', subject=descriptor(OCI_MANIFEST, self.subject))
        self.registry.push_manifest(self.repository, 'by-config', by_config)
        list_ = index([descriptor(OCI_MANIFEST, self.subject)], subject=descriptor(OCI_MANIFEST, self.subject),
                      artifactType='application/x-list', annotations={'a': 'b'})
        self.registry.push_manifest(self.repository, 'list', list_, OCI_INDEX)
        plain = index([descriptor(OCI_MANIFEST, self.subject)], subject=descriptor(OCI_MANIFEST, self.subject))
        self.registry.push_manifest(self.repository, 'plain', plain, OCI_INDEX)
        found = {entry['digest']: entry for entry in self.referrers(digest_of(self.subject))[1]}
        self.assertEqual(len(found), 4)
        self.assertEqual(found[digest_of(artifact)], descriptor(OCI_MANIFEST, artifact, artifactType='application/x-sbom',
                                                                annotations={'name': 'one'}))
        self.assertEqual(found[digest_of(by_config)], descriptor(OCI_MANIFEST, by_config, artifactType='application/x-config'))
        self.assertEqual(found[digest_of(list_)], descriptor(OCI_INDEX, list_, artifactType='application/x-list',
                                                             annotations={'a': 'b'}))
        self.assertEqual(found[digest_of(plain)], descriptor(OCI_INDEX, plain))

    def test_filters(self):
        for i in range(3):
            self.push_artifact(self.subject, 'application/x-sbom', f's{i}')
            self.push_artifact(self.subject, 'application/x-signature+json', f'g{i}')
        digest = digest_of(self.subject)
        answer, found = self.referrers(digest, '?artifactType=application/x-sbom')
        self.assertEqual((answer['OCI-Filters-Applied'], len(found)), ('artifactType', 3))
        self.assertEqual(len(self.referrers(digest, '?artifactType=application%2Fx-signature%2Bjson')[1]), 3)
        self.assertEqual(len(self.referrers(digest, '?artifactType=application/x-signature+json')[1]), 3)
        self.assertEqual(len(self.referrers(digest, '?artifactType=application/x-sbom&artifactType=application/x-signature%2Bjson')[1]), 6)
        self.assertEqual(self.referrers(digest, '?artifactType=nothing')[1], [])
        self.assertIsNone(self.referrers(digest)[0]['OCI-Filters-Applied'])

    def test_pages(self):
        want = {digest_of(self.push_artifact(self.subject, 'application/x-sbom', f'n{i}')) for i in range(7)}
        pages = self.pages('n=3&artifactType=application/x-sbom')
        found = [digest for page in pages for digest in page]
        self.assertLessEqual(max(len(page) for page in pages), 3)
        self.assertEqual((len(found), set(found)), (7, want))

    def test_pages_between_many_of_another_type(self):
        """A page looks at 2,000 referrers at most: it may be empty and have a next one."""
        rare = digest_of(self.push_artifact(self.subject, 'application/x-rare', 'rare'))
        for i in range(2010):
            self.push_artifact(self.subject, 'application/x-often', f'n{i}')
        self.assertEqual(self.pages('artifactType=nothing'), [[], []])
        self.assertEqual(sorted(self.pages('artifactType=application/x-rare')), [[], [rare]])

    def test_subject_may_come_later(self):
        later = manifest(b'{}', [])
        artifact = self.push_artifact(later, 'application/x-sbom', 'early')
        self.assertEqual([entry['digest'] for entry in self.referrers(digest_of(later))[1]], [digest_of(artifact)])
        self.registry.push_manifest(self.repository, 'later', later)
        self.assertEqual(len(self.referrers(digest_of(later))[1]), 1)

    def test_a_deleted_referrer_is_gone_at_once(self):
        artifact = self.push_artifact(self.subject, 'application/x-sbom', 'x')
        expect(self.registry.request('DELETE', f'/v2/{self.repository}/manifests/{digest_of(artifact)}'), 202)
        self.assertEqual(self.referrers(digest_of(self.subject))[1], [])

    def test_fallback_tags_of_older_clients_are_folded_in(self):
        """They keep an index under the tag sha256-<hex>."""
        api = self.push_artifact(self.subject, 'application/x-sbom', 'by API')
        old = manifest(b'{}', [b'layer'], config_type='application/x-old')
        self.registry.push_manifest(self.repository, digest_of(old), old)
        entries = [descriptor(OCI_MANIFEST, old, artifactType='application/x-old', annotations={'k': 'v'}),
                   descriptor(OCI_MANIFEST, api, artifactType='application/x-sbom')]
        tag = digest_of(self.subject).replace(':', '-')
        self.registry.push_manifest(self.repository, tag, index(entries), OCI_INDEX)
        found = {entry['digest']: entry for entry in self.referrers(digest_of(self.subject))[1]}
        self.assertEqual(set(found), {digest_of(api), digest_of(old)})
        self.assertEqual(found[digest_of(old)]['annotations'], {'k': 'v'})
        self.assertEqual(len(self.referrers(digest_of(self.subject), '?artifactType=application/x-old')[1]), 1)
