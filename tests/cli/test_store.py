"""orlop ls, du and rm on a running and on a stopped store: what they tell, to people and to scripts, and that what was to go is what
goes."""
import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path

from support.commands import ask, run_orlop
from support.control import collect_at_once
from support.daemon import Daemon
from support.registry import OCI_INDEX, OCI_MANIFEST, Registry, descriptor, digest_of, index, manifest
from support.store import check_store

CONFIG = json.dumps({'architecture': 'arm64', 'os': 'linux', 'variant': 'v8'}).encode()
SHARED = os.urandom(40_000)


class StoreTest(unittest.TestCase):
    """Two repositories that share a layer, an index, a referrer, and names that a pattern could take for its own."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-store-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.folder / 'data'
        self.orlop = Daemon('--gc-interval', '1h', data=self.data).start()
        self.addCleanup(self.orlop.clean)
        self.registry = Registry(self.orlop)
        self.addCleanup(self.registry.close)
        self.own = os.urandom(10_000)
        self.app = self.push('ci/app', 'v1', SHARED, self.own)
        self.fork = self.push('ci/app-fork', 'v1', SHARED)

    def push(self, repository, tag, *layers, config=CONFIG, **more):
        return self.registry.push_image(repository, tag, config, layers, **more)

    def push_index(self, repository, tag, children):
        data = index([descriptor(OCI_MANIFEST, child, platform=platform) for child, platform in children])
        self.registry.push_manifest(repository, tag, data, OCI_INDEX)
        return data

    def tags(self, repository):
        answer = self.registry.tags(repository)
        return answer.json()['tags'] if answer.status == 200 else None

    def ask(self, *arguments, **more):
        return ask(self.data, *arguments, **more)

    def text(self, *arguments):
        run = run_orlop(*arguments, '--data', self.data)
        self.assertEqual((run.returncode, run.stderr), (0, ''))
        return run.stdout

    def fails(self, *arguments, status=1):
        run = run_orlop(*arguments, '--data', self.data)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run


class ListTest(StoreTest):
    def test_repositories(self):
        self.push('a', 'v1')
        self.assertEqual([line['repository'] for line in self.ask('ls').all('repository')], ['a', 'ci/app', 'ci/app-fork'])
        self.assertEqual(self.text('ls'), 'a\nci/app\nci/app-fork\n')

    def test_tags(self):
        self.push('ci/app', 'v2', b'x', config=b'{}')
        one, two = self.ask('ls', 'ci/app').lines
        self.assertEqual((one['tag'], one['digest'], one['platforms']), ('v1', digest_of(self.app), 'linux/arm64/v8'))
        self.assertEqual(one['size'], len(self.app) + len(CONFIG) + len(SHARED) + len(self.own))
        self.assertEqual((two['tag'], two.get('platforms')), ('v2', None))
        self.assertTrue(two['pushed'] >= one['pushed'] > 1_700_000_000)
        row = self.text('ls', 'ci/app').splitlines()[0]
        for word in ('v1', digest_of(self.app), '49 KiB', ' s ago', 'linux/arm64/v8'):
            self.assertIn(word, row)

    def test_an_index(self):
        """Its size is that of all it reaches."""
        arm, amd = {'os': 'linux', 'architecture': 'arm64'}, {'os': 'linux', 'architecture': 'amd64'}
        other = self.push('ci/app', 'amd', b'layer of amd64', config=b'{"os":"linux","architecture":"amd64"}')
        top = self.push_index('ci/app', 'multi', [(self.app, arm), (other, amd)])
        answer = self.ask('ls', 'ci/app:multi')
        self.assertEqual([(line['kind'], line['platforms']) for line in answer.lines],
                         [('child', 'linux/arm64'), ('child', 'linux/amd64'), ('tag', 'linux/arm64,linux/amd64')])
        self.assertEqual([line['digest'] for line in answer.lines], [digest_of(data) for data in (self.app, other, top)])
        self.assertEqual(answer.lines[2]['size'], len(top) + answer.lines[0]['size'] + answer.lines[1]['size'])
        self.assertEqual(self.ask('ls', f'ci/app@{digest_of(top)}').lines[2]['digest'], digest_of(top))
        self.assertIn('in the index', self.text('ls', 'ci/app:multi'))

    def test_many_tags(self):
        """More than one page of them."""
        for number in range(250):
            self.registry.push_manifest('ci/app', f't{number:03}', self.app)
        self.assertEqual([line['tag'] for line in self.ask('ls', 'ci/app').lines], [*(f't{number:03}' for number in range(250)), 'v1'])

    def test_what_is_not_there(self):
        for word in ('nothing', 'ci/app:nothing', f'ci/app@sha256:{"0" * 64}'):
            run = self.fails('ls', word)
            self.assertEqual(run.stdout, '')
            self.assertRegex(run.stderr, 'nothing|0000')
        self.fails('ls', 'a', 'b', status=2)


class UsageTest(StoreTest):
    def test_bytes(self):
        self.push('ci/app', 'v2', self.own)
        blob = os.urandom(500)
        self.registry.push_blob('only/blobs', blob)
        usage = {line['repository']: line for line in self.ask('du').all('repository')}
        second = len(self.registry.manifest('ci/app', 'v2').body)
        manifests = {'ci/app': len(self.app) + second, 'ci/app-fork': len(self.fork)}
        self.assertEqual({name: (line['tags'], line['manifests'], line['blobs'], line['bytes'], line['own_bytes']) for name, line in usage.items()}, {
            'ci/app': (2, 2, 3, len(CONFIG) + len(SHARED) + len(self.own) + manifests['ci/app'], len(self.own) + manifests['ci/app']),
            'ci/app-fork': (1, 1, 2, len(CONFIG) + len(SHARED) + manifests['ci/app-fork'], manifests['ci/app-fork']),
            'only/blobs': (0, 0, 1, 500, 500)})
        total = self.ask('du').total
        self.assertEqual((total['tags'], total['manifests'], total['blobs']), (3, 3, 4))
        self.assertEqual(total['bytes'], sum(manifests.values()) + len(CONFIG) + len(SHARED) + len(self.own) + 500)
        table = self.text('du').splitlines()
        self.assertEqual([row.split()[-1] for row in table[:4]], ['REPOSITORY', 'ci/app', 'ci/app-fork', 'only/blobs'])
        self.assertIn('total, each content once', table[4])

    def test_own_bytes_are_what_comes_back(self):
        own = {line['repository']: line['own_bytes'] for line in self.ask('du').all('repository')}['ci/app']
        before = self.ask('du').total['bytes']
        self.ask('rm', 'ci/app')
        collect_at_once(self.data)
        self.assertEqual(before - self.ask('du').total['bytes'], own)

    def test_what_waits(self):
        self.ask('rm', 'ci/app')
        place = self.registry.begin_upload('ci/app')
        self.assertEqual(self.registry.request('PATCH', place, [], b'x' * 20_000).status, 202)
        total = self.ask('du').total
        self.assertGreaterEqual(total['waiting_blobs'], 3)
        self.assertEqual((total['uploads'], total['upload_bytes'], total['waiting_files']), (1, 20_000, 0))
        self.assertIn('1 uploads (20 KiB)', self.text('du'))


class RemoveTest(StoreTest):
    def removed(self, answer):
        return [(line['what'], line['repository'], line.get('tag') or line.get('digest')) for line in answer.all('removed')]

    def counts(self, answer):
        return tuple(answer.total[name] for name in ('repositories', 'tags', 'manifests'))

    def test_a_tag(self):
        """Its manifest goes with the last tag that led to it."""
        self.registry.push_manifest('ci/app', 'latest', self.app)
        self.assertEqual(self.counts(self.ask('rm', 'ci/app:latest')), (0, 1, 0))
        self.assertEqual(self.tags('ci/app'), ['v1'])
        self.assertEqual(self.counts(self.ask('rm', 'ci/app:v1')), (0, 1, 1))
        self.assertEqual(self.registry.manifest('ci/app', digest_of(self.app)).status, 404)
        self.assertEqual(self.registry.manifest('ci/app-fork', 'v1').body, self.fork)

    def test_a_digest(self):
        """With its tags; what an index names is refused, and the other words go on."""
        top = self.push_index('ci/app', 'multi', [(self.app, {'os': 'linux', 'architecture': 'arm64'})])
        answer = self.ask('rm', f'ci/app@{digest_of(self.app)}', 'ci/app-fork:v1', status=1)
        [refused] = answer.all('refused')
        self.assertEqual(refused['word'], f'ci/app@{digest_of(self.app)}')
        self.assertIn('delete the index first', refused['reason'])
        self.assertEqual(self.removed(answer), [('tag', 'ci/app-fork', 'v1')])
        self.assertEqual(self.counts(self.ask('rm', f'ci/app@{digest_of(top)}', f'ci/app@{digest_of(self.app)}')), (0, 0, 2))
        self.assertIsNone(self.tags('ci/app'))

    def test_a_repository(self):
        """All of it: an index and its images, referrers, what is untagged. Others keep what they share."""
        arm = {'os': 'linux', 'architecture': 'arm64'}
        top = self.push_index('ci/app', 'multi', [(self.app, arm)])
        self.push_index('ci/app', 'deep', [(top, arm)])
        signature = manifest(CONFIG, [], subject=descriptor(OCI_MANIFEST, self.app))
        self.registry.push_manifest('ci/app', digest_of(signature), signature)
        self.assertEqual(self.counts(self.ask('rm', 'ci/app')), (1, 0, 4))
        self.assertNotIn('ci/app', [line['repository'] for line in self.ask('ls').lines])
        self.assertIsNone(self.tags('ci/app'))
        collect_at_once(self.data)
        self.assertEqual([line['repository'] for line in self.ask('du').all('repository')], ['ci/app-fork'])
        self.assertEqual(self.registry.blob('ci/app-fork', digest_of(SHARED)).body, SHARED)
        self.push('ci/app', 'again', self.own)
        self.assertEqual(self.tags('ci/app'), ['again'])
        self.orlop.stop()
        check_store(self.data)

    def test_many_manifests_go_in_steps(self):
        for number in range(350):
            self.registry.push_manifest('big/app', f't{number}', self.put_parts(number))
        self.assertEqual(self.counts(self.ask('rm', 'big/app')), (1, 0, 350))
        self.assertIsNone(self.tags('big/app'))

    def put_parts(self, number):
        if number == 0:
            self.registry.push_blob('big/app', CONFIG)
        return manifest(CONFIG, [], annotations={'n': str(number)})

    def test_patterns(self):
        for tag in ('pr-1', 'pr-2', 'pr-10', 'release', 'v1'):
            self.push('ci/deep/app', tag, tag.encode())
        self.push('team', 'pr-1', b'x')
        answer = self.ask('rm', 'ci/*:pr-?')
        self.assertEqual(self.removed(answer), [('tag', 'ci/deep/app', 'pr-1'), ('tag', 'ci/deep/app', 'pr-2')])
        self.assertEqual(self.removed(self.ask('rm', 'ci/deep/app:[pr]*')), [('tag', 'ci/deep/app', 'pr-10'), ('tag', 'ci/deep/app', 'release')])
        self.assertEqual(self.tags('ci/deep/app'), ['v1'])
        self.assertEqual(self.removed(self.ask('rm', '*app:v1')), [('tag', 'ci/app', 'v1'), ('tag', 'ci/deep/app', 'v1')])
        self.assertEqual(self.tags('ci/app-fork'), ['v1'])
        self.assertEqual(self.removed(self.ask('rm', '*')), [('repository', 'ci/app-fork', None), ('repository', 'team', None)])
        self.assertEqual(self.ask('ls').lines, [])

    def test_names_are_no_patterns(self):
        """A dot, a dash and an underscore are only themselves; a name is not a prefix."""
        for name in ('ci/app.x', 'ci/app_x', 'ci/app--x', 'ci/appx'):
            self.push(name, 'v1.2', b'x')
        self.assertEqual(self.removed(self.ask('rm', 'ci/app.x')), [('repository', 'ci/app.x', None)])
        self.assertEqual(self.removed(self.ask('rm', 'ci/app[_]x:v1.2')), [('tag', 'ci/app_x', 'v1.2')])
        self.assertEqual([line['repository'] for line in self.ask('ls').lines], ['ci/app', 'ci/app--x', 'ci/app-fork', 'ci/appx'])
        for word in ('ci/*:[', '[', '[!', '*[', r'ci/app\*', 'ci/app:[a-', '?' * 255, '*' * 300 + 'a'):
            self.assertEqual([line['word'] for line in self.ask('rm', word, status=1).all('refused')], [word])
        self.assertEqual(len(self.ask('ls').lines), 4)

    def test_a_dry_run(self):
        """Tells the same, removes nothing."""
        self.push('ci/app', 'v2', b'x')
        words = ('ci/app:v*', 'ci/app-fork', f'ci/app@{digest_of(self.app)}')
        told = self.ask('rm', '--dry-run', *words)
        self.assertEqual([line['dry_run'] for line in told.all('removed')], [True] * 4)
        self.assertEqual(self.tags('ci/app'), ['v1', 'v2'])
        self.assertEqual(self.tags('ci/app-fork'), ['v1'])
        text = self.text('rm', '--dry-run', *words)
        self.assertEqual(text.splitlines(), ['would remove tag ci/app:v1', 'would remove tag ci/app:v2', 'would remove repository ci/app-fork',
                                             f'would remove manifest ci/app@{digest_of(self.app)}'])
        done = self.ask('rm', *words[:2])
        self.assertEqual(self.removed(done), self.removed(told)[:3])

    def test_nothing_matched(self):
        for word in ('nothing', 'ci/app:nothing', 'no*', 'ci/app:no*', f'ci/app@sha256:{"0" * 64}'):
            for dry in ((), ('--dry-run',)):
                run = self.fails('rm', word, *dry)
                self.assertNotIn('removed ', run.stdout)
                self.assertIn(f'orlop: {word}: ', run.stderr)
        for word in (':v1', 'ci/app:', '@', 'ci/app@sha256:12'):
            self.fails('rm', 'ci/app:v1', word, status=2)       # before the first word is looked at
        self.fails('rm', status=2)
        self.assertEqual(self.tags('ci/app'), ['v1'])

    def test_on_a_stopped_store(self):
        self.orlop.stop()
        self.assertEqual(self.counts(self.ask('rm', 'ci/app:v1', 'ci/app-*')), (1, 1, 2))
        self.assertEqual(self.ask('ls').lines, [])
        check_store(self.data)


if __name__ == '__main__':
    unittest.main()
