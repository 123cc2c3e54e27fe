"""Collection with the daemon: what goes, what stays, that the disk is afterwards as it was before, and that `orlop gc --dry-run` told
the truth. The collector's own turns are far apart in most tests, so that nothing goes but on the test's word."""
import hashlib
import json
import os
import sqlite3
import threading
import time
import unittest

from support.case import DaemonTest
from support.commands import ask, run_orlop
from support.control import collect_at_once, request, send
from support.daemon import Daemon
from support.registry import OCI_INDEX, OCI_MANIFEST, Registry, descriptor, digest_of, expect, index, manifest
from support.store import check_store

MIB = 1 << 20
RULES = ('--gc-grace', '1s', '--gc-trash-delay', '1s', '--upload-expiry', '1s')
SLOWLY = (*RULES, '--gc-interval', '1h')
QUICKLY = (*RULES, '--gc-interval', '1s')
PAST_A_SECOND = 1.05
# A repository's row stays, and the statistics of the scrub are of no interest.
TABLES = ('blobs', 'repository_blobs', 'manifests', 'manifest_references', 'manifest_blobs', 'tags', 'uploads', 'gc_blob_queue',
          'gc_manifest_queue', 'object_trash')


def on_disk(data):
    """All that blobs and uploads take, and the rows of each table."""
    rows = {}
    with sqlite3.connect(f'file:{data / "orlop.db"}?mode=ro', uri=True) as database:
        for table in TABLES:
            rows[table] = database.execute(f'SELECT count(*) FROM {table}').fetchone()[0]
    database.close()
    files = sorted(str(path) for place in ('blobs', 'uploads') for path in (data / place).rglob('*'))
    return {'rows': rows, 'inodes': files, 'bytes': sum(os.lstat(path).st_size for path in files if os.path.isfile(path))}


class CollectTest(DaemonTest):
    flags = SLOWLY

    def setUp(self):
        super().setUp()
        self.config = json.dumps({'repository': self.repository}).encode()
        self.collect()                  # what the tests before have left

    def push_image(self, tag, *layers, repository=None):
        return self.registry.push_image(repository or self.repository, tag, self.config, layers)

    def collect(self, untagged_s=0):
        rules = {'untagged_us': untagged_s * 1_000_000} if untagged_s else {}
        return collect_at_once(self.orlop.data, **rules)

    def statuses(self, *digests):
        return [self.registry.manifest(self.repository, digest, 'HEAD').status for digest in digests]

    def push_manifest(self, tag=None, **more):
        """A manifest without layers; its bytes. Without a tag it is pushed by its digest."""
        self.registry.push_blob(self.repository, self.config)
        data = manifest(self.config, [], annotations={'n': os.urandom(8).hex()}, **more)
        self.registry.push_manifest(self.repository, tag or digest_of(data), data)
        return data

    def push_index(self, tag, *children):
        data = index([descriptor(media_type, child) for media_type, child in children])
        self.registry.push_manifest(self.repository, tag or digest_of(data), data, OCI_INDEX)
        return data

    def delete(self, reference, repository=None):
        expect(self.registry.request('DELETE', f'/v2/{repository or self.repository}/manifests/{reference}'), 202)

    def test_the_disk_is_as_before(self):
        """Blobs of a few bytes live in the database, others in files; both algorithms have folders of their own."""
        before = on_disk(self.orlop.data)
        layers = [os.urandom(size) for size in (0, 10, 8192, 8193, 100_000, 3 * MIB)]
        image = self.push_image('v1', *layers)
        self.registry.push_blob(self.repository, os.urandom(50_000), 'sha512')
        self.assertEqual(on_disk(self.orlop.data)['bytes'] - before['bytes'], 8193 + 100_000 + 3 * MIB + 50_000)
        self.delete(digest_of(image))
        freed = self.collect()
        self.assertEqual(on_disk(self.orlop.data), before)
        self.assertEqual((freed['manifests'], freed['blobs'], freed['files'], freed['uploads']), (0, 8, 4, 0))
        self.assertEqual(freed['bytes'], sum(map(len, layers)) + len(self.config) + 50_000)

    def test_the_grace(self):
        """A blob stays until its grace is over, and is not collected while somebody keeps asking for it."""
        digest = self.registry.push_blob(self.repository, os.urandom(20_000))
        begun = asked = time.monotonic()
        while asked - begun < 2.5:
            send(self.orlop.data, request('gc'))
            status = self.registry.blob(self.repository, digest, 'HEAD').status
            if status == 404 and time.monotonic() - asked > 0.5:        # the machine stood still for longer than the grace allows
                begun, digest = time.monotonic(), self.registry.push_blob(self.repository, os.urandom(20_000))
            else:
                self.assertEqual(status, 200)
            asked = time.monotonic()
            time.sleep(0.1)
        time.sleep(PAST_A_SECOND)
        ask(self.orlop.data, 'gc', '--now')
        self.assertEqual(self.registry.blob(self.repository, digest, 'HEAD').status, 404)

    def test_blobs_that_no_manifest_names(self):
        kept, left = os.urandom(30_000), os.urandom(30_000)
        image = self.push_image('v1', kept)
        self.registry.push_blob(self.repository, left)
        self.assertEqual(self.collect()['bytes'], len(left))
        self.assertEqual(self.registry.blob(self.repository, digest_of(left)).status, 404)
        self.assertEqual(self.registry.blob(self.repository, digest_of(kept)).body, kept)
        self.assertEqual(self.registry.manifest(self.repository, 'v1').body, image)

    def test_a_blob_of_two_repositories_goes_with_the_last(self):
        layer, other = os.urandom(30_000), self.repository + '/other'
        first, second = self.push_image('v1', layer), self.push_image('v1', layer, repository=other)
        self.delete(digest_of(first))
        self.assertEqual(self.collect()['blobs'], 0)
        self.assertEqual(self.registry.blob(self.repository, digest_of(layer)).status, 404)
        self.assertEqual(self.registry.blob(other, digest_of(layer)).body, layer)
        self.delete(digest_of(second), other)
        self.assertEqual(self.collect()['files'], 1)
        self.assertEqual(self.registry.blob(other, digest_of(layer)).status, 404)

    def test_abandoned_uploads(self):
        """Without a byte, with some in the row, with some in a file; one goes on meanwhile and stays."""
        places = [self.registry.begin_upload(self.repository) for _ in range(4)]
        for place, body in zip(places[1:], (b'x' * 100, os.urandom(MIB), b'y' * 9000)):
            expect(self.registry.request('PATCH', place, [], body), 202)
        time.sleep(PAST_A_SECOND)
        expect(self.registry.request('PATCH', places[3], [], b'z'), 202)
        freed = ask(self.orlop.data, 'gc', '--now').total
        self.assertEqual((freed['uploads'], freed['bytes']), (3, 100 + MIB))
        self.assertEqual([self.registry.request('GET', place).status for place in places], [404, 404, 404, 204])
        answer = self.registry.request('PUT', f'{places[3]}?digest={digest_of(b"y" * 9000 + b"z")}', [('Content-Length', 0)])
        self.assertEqual(answer.status, 201)
        self.assertEqual(list((self.orlop.data / 'uploads').iterdir()), [])

    def test_untagged_manifests_stay_unless_the_user_says_otherwise(self):
        untagged, moved = digest_of(self.push_manifest()), digest_of(self.push_manifest('moved'))
        self.push_manifest('moved')
        removed = digest_of(self.push_manifest('removed'))
        self.delete('removed')
        self.assertEqual(self.collect()['manifests'], 0)
        self.assertEqual(self.statuses(untagged, moved, removed, 'moved'), [200] * 4)
        self.assertEqual(self.collect(untagged_s=3600)['manifests'], 0)
        time.sleep(PAST_A_SECOND)
        self.assertEqual(ask(self.orlop.data, 'gc', '--now', '--untagged-expiry', '1s').total['manifests'], 3)
        self.assertEqual(self.statuses(untagged, moved, removed, 'moved'), [404, 404, 404, 200])

    def test_what_an_index_reaches(self):
        """Children live as long as an index, however deep, and go after it."""
        children = [self.push_manifest() for _ in range(2)]
        inner = self.push_index(None, *((OCI_MANIFEST, child) for child in children))
        outer = self.push_index('multi', (OCI_INDEX, inner))
        digests = [digest_of(data) for data in (*children, inner, outer)]
        time.sleep(PAST_A_SECOND)
        self.assertEqual(self.collect(untagged_s=1)['manifests'], 0)
        self.assertEqual(self.statuses(*digests), [200] * 4)
        self.delete(digests[3])
        self.assertEqual(self.collect()['manifests'], 3)
        self.assertEqual(self.statuses(*digests), [404] * 4)

    def test_a_child_that_a_tag_reaches_too(self):
        top = self.push_index('multi', (OCI_MANIFEST, self.push_manifest('one')))
        self.delete(digest_of(top))
        self.assertEqual(self.collect()['manifests'], 0)
        self.assertEqual(self.statuses('one', 'multi'), [200, 404])

    def test_referrers_live_and_die_with_their_subject(self):
        subject = self.push_manifest('v1')
        signature = self.push_manifest(subject=descriptor(OCI_MANIFEST, subject))
        of_signature = self.push_manifest(subject=descriptor(OCI_MANIFEST, signature))
        tagged = self.push_manifest('sbom', subject=descriptor(OCI_MANIFEST, subject))
        digests = [digest_of(data) for data in (subject, signature, of_signature, tagged)]
        time.sleep(PAST_A_SECOND)
        self.assertEqual(self.collect(untagged_s=1)['manifests'], 0)
        self.assertEqual(self.statuses(*digests), [200] * 4)
        self.delete(digests[0])
        self.assertEqual(self.collect()['manifests'], 2)
        self.assertEqual(self.statuses(*digests), [404, 404, 404, 200])

    def test_a_dry_run_tells_what_goes(self):
        """Line by line and in all; and it removes nothing."""
        self.push_image('stays')
        layer, small, child = os.urandom(100_000), b'small layer', self.push_manifest()
        top = self.push_index('multi', (OCI_MANIFEST, child))
        image = self.push_image('v1', layer, small)
        place = self.registry.begin_upload(self.repository)
        expect(self.registry.request('PATCH', place, [], os.urandom(20_000)), 202)
        self.delete(digest_of(top))
        self.delete(digest_of(image))
        early = ask(self.orlop.data, 'gc', '--dry-run', '--gc-grace', '1h', '--upload-expiry', '1h').total
        self.assertEqual((early['now'], early['now_bytes'], early['later']), (0, 0, 4))
        time.sleep(PAST_A_SECOND)
        before = on_disk(self.orlop.data)
        told = ask(self.orlop.data, 'gc', '--dry-run')
        self.assertEqual(on_disk(self.orlop.data), before)
        lines = {(line['what'], line.get('digest') or line['upload']): line for line in told.all('garbage')}
        self.assertEqual({name: line['size'] for name, line in lines.items()}, {
            ('manifest', digest_of(child)): len(child), ('blob', digest_of(layer)): len(layer), ('blob', digest_of(small)): len(small),
            ('upload', place.rpartition('/')[2]): 20_000})
        for line in lines.values():
            self.assertTrue(line['now'] and line['reason'] and line['repository'] == self.repository, line)
        self.assertEqual((told.total['now'], told.total['later']), (4, 0))
        self.assertEqual(told.total['now_bytes'], sum(line['size'] for line in lines.values()))
        table = run_orlop('gc', '--dry-run', '--data', self.orlop.data).stdout
        self.assertEqual(table.count('\n'), 5, table)
        self.assertIn('4 would go now', table)
        freed = ask(self.orlop.data, 'gc', '--now').total
        self.assertEqual((freed['manifests'], freed['blobs'], freed['uploads'], freed['files']), (1, 2, 1, 0))
        files = ask(self.orlop.data, 'gc', '--dry-run').all('garbage')
        self.assertEqual([(line['what'], line['digest'], line['size']) for line in files], [('file', digest_of(layer), len(layer))])
        self.assertEqual(freed['bytes'] + self.collect()['bytes'], told.total['now_bytes'])

    def test_the_rules_of_one_collection(self):
        """The daemon's settings stay what they are."""
        self.registry.push_blob(self.repository, os.urandom(20_000))
        time.sleep(PAST_A_SECOND)
        told = ask(self.orlop.data, 'gc', '--dry-run', '--gc-grace', '1h').total
        self.assertEqual((told['now'], told['later']), (0, 1))
        self.assertEqual(ask(self.orlop.data, 'gc', '--now', '--gc-grace', '1h').total['blobs'], 0)
        self.assertEqual(ask(self.orlop.data, 'gc', '--now').total['blobs'], 1)
        run = run_orlop('gc', '--now', '--dry-run', '--data', self.orlop.data)
        self.assertEqual((run.returncode, run.stdout), (2, ''))
        self.assertIn('exclude each other', run.stderr)


class BesidePullsTest(unittest.TestCase):
    def test_by_itself_while_the_layer_is_pulled(self):
        """Downloads that have begun end whole; who asks later is told that it is gone; status tells what was freed."""
        layer = os.urandom(16 * MIB)
        with Daemon(*QUICKLY) as orlop, Registry(orlop) as registry:
            before = on_disk(orlop.data)
            image = registry.push_image('a/app', 'v1', layers=(layer,))
            ends = []

            def pull():
                """The first bytes, then nothing until the file is gone, then the rest."""
                with orlop.connect() as connection:
                    connection.send(connection.head('GET', f'/v2/a/app/blobs/{digest_of(layer)}'))
                    answer = connection.response_head()
                    body = hashlib.sha256(connection.exactly(1000))
                    begun.release()
                    gone.wait(30)
                    body.update(connection.exactly(len(layer) - 1000))
                    ends.append((answer.status, body.hexdigest()))

            begun, gone = threading.Semaphore(0), threading.Event()
            threads = [threading.Thread(target=pull) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                begun.acquire(timeout=30)
            expect(registry.request('DELETE', f'/v2/a/app/manifests/{digest_of(image)}'), 202)
            deadline = time.monotonic() + 30
            while on_disk(orlop.data) != before and time.monotonic() < deadline:
                time.sleep(0.1)
            left = on_disk(orlop.data)
            gone.set()
            for thread in threads:
                thread.join()
            self.assertEqual(left, before)
            self.assertEqual(ends, [(200, hashlib.sha256(layer).hexdigest())] * 8)
            self.assertEqual(registry.blob('a/app', digest_of(layer)).status, 404)
            orlop.wait_log('info collected .*files=1')
            jobs = ask(orlop.data, 'status').one('jobs')
            self.assertEqual((jobs['freed']['blobs'], jobs['freed']['files'], jobs['freed']['bytes']), (2, 1, 16 * MIB + 2))
            self.assertLessEqual(abs(jobs['freed_last_at'] - time.time()), 30)

    def test_pushes_and_deletions_at_once(self):
        """Images that share layers come and go on every side: each that was not deleted is whole at the end."""
        shared = [os.urandom(20_000) for _ in range(4)]
        failures = []

        def push(registry, *arguments):
            """Again where the machine stood still for longer than the grace, and a blob went before its manifest came."""
            while True:
                try:
                    return registry.push_image(*arguments)
                except AssertionError as error:
                    if 'MANIFEST_BLOB_UNKNOWN' not in str(error):
                        failures.append(error)
                        raise

        def work(orlop, number, until):
            with Registry(orlop) as registry:
                rounds = 0
                while time.monotonic() < until:
                    image = push(registry, f'w/{number}', 'v', b'{}', (shared[rounds % 4], os.urandom(9000)))
                    if rounds % 3:
                        expect(registry.request('DELETE', f'/v2/w/{number}/manifests/{digest_of(image)}'), 202)
                    rounds += 1
                push(registry, f'w/{number}', 'last', b'{}', shared)
                for layer in shared:
                    if registry.blob(f'w/{number}', digest_of(layer)).body != layer:
                        failures.append((number, digest_of(layer)))

        with Daemon(*QUICKLY) as orlop:
            threads = [threading.Thread(target=work, args=(orlop, number, time.monotonic() + 3)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            collect_at_once(orlop.data)
            self.assertEqual(failures, [])
            self.assertGreater(ask(orlop.data, 'status').one('jobs')['freed']['blobs'], 10)
            with Registry(orlop) as registry:
                for number in range(4):
                    for layer in shared:
                        self.assertEqual(registry.blob(f'w/{number}', digest_of(layer)).body, layer)
            orlop.stop()
            check_store(orlop.data)


class StoppedTest(unittest.TestCase):
    def test_a_stopped_store(self):
        orlop = Daemon(*SLOWLY)
        self.addCleanup(orlop.clean)
        orlop.start()
        with Registry(orlop) as registry:
            image = registry.push_image('a/app', 'v1', layers=(os.urandom(MIB), b'small'))
            registry.push_image('a/app', 'v2', layers=(os.urandom(9000),))
            expect(registry.request('DELETE', f'/v2/a/app/manifests/{digest_of(image)}'), 202)
            expect(registry.request('PATCH', registry.begin_upload('a/app'), [], b'x' * 20_000), 202)
        orlop.stop()
        time.sleep(PAST_A_SECOND)
        told = ask(orlop.data, 'gc', '--dry-run', *RULES)
        self.assertEqual((told.total['now'], told.total['now_bytes']), (3, MIB + 5 + 20_000))
        names = ask(orlop.data, 'gc', '--now', *RULES).total
        time.sleep(PAST_A_SECOND)
        files = ask(orlop.data, 'gc', '--now', *RULES).total
        self.assertEqual((names['blobs'], names['uploads'], names['bytes']), (2, 1, 5 + 20_000))
        self.assertEqual((files['files'], files['bytes']), (1, MIB))
        self.assertEqual(len(check_store(orlop.data)), 2)
        orlop.start()
        self.assertEqual(orlop.request('GET', '/v2/a/app/manifests/v2').status, 200)
        orlop.stop()


if __name__ == '__main__':
    unittest.main()
