"""Damage on the disk, made by hand: it is found by the scrub, by whoever pulls, and by `orlop check`; what is damaged is never served as
good, the next push heals it, and the store is sound again."""
import os
import shutil
import sqlite3
import tempfile
import time
import unittest
from pathlib import Path

from support.commands import ask, run_orlop
from support.daemon import Daemon
from support.registry import OCI_MANIFEST, Registry, descriptor, digest_of, manifest
from support.store import check_store

QUIET = ('--scrub-period', '0', '--copy-interval', '0')
SCRUB = ('--scrub-period', '1s', '--copy-interval', '0')
REPOSITORY = 'team/app'


def object_of(data, digest):
    """The file of a stored blob."""
    algorithm, _, text = digest.partition(':')
    [path] = (data / 'blobs' / algorithm / text[:2]).glob(text + '.*')
    return path


def writable(path):
    """Objects are read-only, and are never written but here."""
    os.chmod(path, 0o600)
    return path


def flip(path):
    with open(writable(path), 'r+b') as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 4]))


def shorten(path):
    os.truncate(writable(path), path.stat().st_size - 1)


def lengthen(path):
    with open(writable(path), 'ab') as file:
        file.write(b'x')


def flip_in_database(data, digest):
    with sqlite3.connect(data / 'orlop.db') as database:
        count = database.execute("UPDATE blobs SET content = CAST('X' || substr(content, 2) AS BLOB) WHERE hex(digest) LIKE ?",
                                 ['%' + digest.partition(':')[2].upper()]).rowcount
    database.close()
    assert count == 1


SEEN_AT_ONCE = {'shorter': shorten, 'longer': lengthen, 'missing': Path.unlink}
DAMAGES = {'flipped': flip, **SEEN_AT_ONCE}
WORDS = {'flipped': 'not those of its digest', 'shorter': 'bytes instead of', 'longer': 'bytes instead of', 'missing': 'its file is missing'}


class DamageTest(unittest.TestCase):
    flags = QUIET

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-damage-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.folder / 'data'
        self.orlop = self.start()
        self.layers = {name: os.urandom(20_000) for name in DAMAGES}
        self.small = b'a blob in the database'
        with Registry(self.orlop) as registry:
            self.image = registry.push_image(REPOSITORY, 'v1', layers=(*self.layers.values(), self.small))

    def start(self, *flags):
        orlop = Daemon(*(flags or self.flags), data=self.data).start()
        self.addCleanup(orlop.clean)
        return orlop

    def damage(self, damages):
        """These, each to the layer of its name; the digests."""
        for name, how in damages.items():
            how(object_of(self.data, digest_of(self.layers[name])))
        return {name: digest_of(self.layers[name]) for name in damages}

    def assert_unserved(self, registry, digest):
        """A clear error, nothing of the bytes, and not there for whoever asks whether to push."""
        answer = registry.blob(REPOSITORY, digest)
        self.assertEqual((answer.status, answer.error_code()), (500, 'UNKNOWN'))
        self.assertIn('damaged', answer.message())
        self.assertIn(digest, answer.message())
        self.assertEqual(registry.blob(REPOSITORY, digest, 'HEAD').status, 404)
        answer = registry.blob(REPOSITORY, digest, headers=[('Range', 'bytes=0-9')])
        self.assertEqual(answer.status, 500)
        place = f'/v2/team/other/blobs/uploads/?mount={digest}&from={REPOSITORY}'
        self.assertEqual(registry.request('POST', place, [('Content-Length', 0)]).status, 202)

    def assert_named_by_no_new_manifest(self, registry, data):
        named = manifest(b'{}', [data])
        answer = registry.request('PUT', f'/v2/{REPOSITORY}/manifests/new', [('Content-Type', OCI_MANIFEST)], named)
        self.assertEqual((answer.status, answer.error_code()), (404, 'MANIFEST_BLOB_UNKNOWN'))

    def assert_heals(self, orlop, registry, blobs):
        """The pushes that clients make next: HEAD says that it is not there, so they bring it."""
        for data in blobs:
            registry.push_blob(REPOSITORY, data)
        for data in blobs:
            self.assertEqual(registry.blob(REPOSITORY, digest_of(data)).body, data)
            self.assertEqual(registry.blob(REPOSITORY, digest_of(data), 'HEAD').status, 200)
        self.assertEqual(registry.manifest(REPOSITORY, 'v1').body, self.image)
        status = ask(self.data, 'status')
        self.assertEqual((status.total['damaged'], status.all('damaged')), (0, []))
        self.assertEqual(run_orlop('check', '--bytes', '--data', self.data, '--listen', orlop.listen_flag()).returncode, 0)


class PullTest(DamageTest):
    def test_who_pulls_sees_it_first(self):
        digests = self.damage(SEEN_AT_ONCE)
        flip_in_database(self.data, digest_of(self.small))
        digests['small'] = digest_of(self.small)
        self.orlop.restart()            # what memory has is good
        with Registry(self.orlop) as registry:
            for digest in digests.values():
                self.assert_unserved(registry, digest)
            for name in SEEN_AT_ONCE:
                self.assert_named_by_no_new_manifest(registry, self.layers[name])
            status = ask(self.data, 'status', status=1)
            self.assertEqual({line['digest'] for line in status.all('damaged')}, set(digests.values()))
            for name in SEEN_AT_ONCE:
                [line] = [line for line in status.all('damaged') if line['digest'] == digests[name]]
                self.assertIn(WORDS[name], line['damage'])
                self.assertEqual((line['repository'], line['size']), (REPOSITORY, 20_000))
                self.orlop.wait_log(f'error .*{digests[name]}')
            text = run_orlop('status', '--data', self.data)
            self.assertEqual((text.returncode, text.stdout.count('DAMAGED ')), (1, 4))
            self.assertIn('4 blobs are damaged; push them again to mend', text.stdout)
            self.assert_heals(self.orlop, registry, [self.layers[name] for name in SEEN_AT_ONCE] + [self.small])
        self.orlop.stop()
        ask(self.data, 'gc', '--now')

    def test_it_is_asked_for_before_it_is_pulled(self):
        """HEAD trusts the row, until somebody reads: then the pull marks it, and the next HEAD tells."""
        digest = self.damage({'missing': Path.unlink})['missing']
        self.orlop.restart()
        with Registry(self.orlop) as registry:
            self.assertEqual(registry.blob(REPOSITORY, digest).status, 500)
            self.assertEqual(registry.blob(REPOSITORY, digest, 'HEAD').status, 404)
            self.orlop.restart()
            registry.close()
            self.assertEqual(registry.blob(REPOSITORY, digest, 'HEAD').status, 404)
            self.assert_heals(self.orlop, registry, [self.layers['missing']])

    def test_a_damaged_manifest(self):
        """Its bytes are compared whenever they are read; pushing it again mends it."""
        with sqlite3.connect(self.data / 'orlop.db') as database:
            database.execute("UPDATE manifests SET payload = CAST(replace(payload, 'schemaVersion', 'schemaversion') AS BLOB)")
        database.close()
        self.orlop.restart()
        with Registry(self.orlop) as registry:
            answer = registry.manifest(REPOSITORY, 'v1')
            self.assertEqual(answer.status, 500)
            self.assertIn('damaged', answer.message())
            run = ask(self.data, 'check', '--listen', self.orlop.listen_flag(), status=1)
            self.assertEqual([(line['what'], line['name']) for line in run.all('finding')], [('manifest', digest_of(self.image))])
            registry.push_manifest(REPOSITORY, 'v1', self.image)
            self.assertEqual(registry.manifest(REPOSITORY, 'v1').body, self.image)
            ask(self.data, 'check', '--listen', self.orlop.listen_flag())


class ScrubTest(DamageTest):
    flags = SCRUB

    def wait(self, count):
        deadline = time.monotonic() + 30
        while True:
            run = run_orlop('status', '--json', '--data', self.data)
            if f'"damaged":{count}}}' in run.stdout:
                return
            self.assertLess(time.monotonic(), deadline, run.stdout)
            time.sleep(0.1)

    def test_the_scrub_finds_all_and_what_comes_back_is_good_again(self):
        """A disk that was away and is there again needs no push."""
        kept = {name: object_of(self.data, digest_of(data)).read_bytes() for name, data in self.layers.items()}
        places = {name: object_of(self.data, digest_of(data)) for name, data in self.layers.items()}
        digests = self.damage(DAMAGES)
        flip_in_database(self.data, digest_of(self.small))
        self.wait(5)
        for name, digest in digests.items():
            self.orlop.wait_log(rf'error a stored blob is damaged.*{digest}.*{WORDS[name]}')
        with Registry(self.orlop) as registry:
            for digest in (*digests.values(), digest_of(self.small)):
                self.assert_unserved(registry, digest)
            self.assert_named_by_no_new_manifest(registry, self.layers['flipped'])
            self.assertEqual(registry.manifest(REPOSITORY, 'v1').body, self.image)
            places['missing'].write_bytes(kept['missing'])
            self.wait(4)
            self.orlop.wait_log(f'info a blob that was damaged is good again.*{digests["missing"]}')
            self.assertEqual(registry.blob(REPOSITORY, digests['missing']).body, self.layers['missing'])
            self.assert_heals(self.orlop, registry, [*self.layers.values(), self.small])
        self.assertEqual(ask(self.data, 'status').one('jobs')['scrubbed_blobs'] > 0, True)
        self.orlop.stop()
        time.sleep(1.05)
        ask(self.data, 'gc', '--now', '--gc-trash-delay', '1s')       # the objects that were replaced
        check_store(self.data)


class CheckTest(DamageTest):
    def strange_files(self):
        """Files that nobody knows: an object, an upload, and something that is neither."""
        folder = self.data / 'blobs' / 'sha256' / '00'
        folder.mkdir(exist_ok=True)
        files = {f'blobs/sha256/00/00{"0" * 62}.{"a" * 32}': b'object', 'uploads/' + 'b' * 32: b'upload', 'blobs/sha256/00/notes.txt': b'notes'}
        old = time.time() - 3600
        for path, content in files.items():
            (self.data / path).write_bytes(content)
            os.utime(self.data / path, (old, old))
        return files

    def check(self, *flags, **more):
        return ask(self.data, 'check', '--listen', '127.0.0.1:0', *flags, **more)

    def findings(self, answer):
        return {line['name']: line for line in answer.all('finding')}

    def check_and_mend(self):
        """Finds all damage, changes nothing; with --repair all that can be mended is."""
        files = self.strange_files()
        digests = self.damage(DAMAGES)
        untouched = {path: (self.data / path).read_bytes() for path in files}
        found = self.findings(self.check('--bytes', status=1))
        self.assertEqual(set(found), {*digests.values(), *files})
        self.assertEqual({path: (self.data / path).read_bytes() for path in files}, untouched)
        for name, digest in digests.items():
            self.assertIn(WORDS[name], found[digest]['wrong'])
            self.assertIn('--repair', found[digest]['mend'])
        for path in files:
            self.assertIn('lost+found', found[path]['mend'])
        found = self.findings(self.check('--bytes', '--repair', status=1))       # blobs are marked, which is not yet mended
        self.assertEqual({name for name, line in found.items() if line['mended']}, set(files))
        self.assertEqual({path.name: path.read_bytes() for path in (self.data / 'lost+found').iterdir()},
                         {path.rpartition('/')[2]: content for path, content in files.items()})
        found = self.findings(self.check(status=1))
        self.assertEqual(set(found), set(digests.values()))
        for digest in digests.values():
            self.assertIn('push it again', found[digest]['mend'])
        return digests

    def test_a_running_store(self):
        digests = self.check_and_mend()
        with Registry(self.orlop) as registry:
            for digest in digests.values():
                self.assert_unserved(registry, digest)
            self.assert_heals(self.orlop, registry, list(self.layers.values()))
            self.assertEqual(self.check('--bytes').total['wrong'], 0)

    def test_a_stopped_store(self):
        self.orlop.stop()
        digests = self.check_and_mend()
        orlop = self.start()
        with Registry(orlop) as registry:
            for digest in digests.values():
                self.assert_unserved(registry, digest)
            self.assert_heals(orlop, registry, list(self.layers.values()))

    def test_for_a_person(self):
        """The same, as text: a line for what is wrong and one for the mend."""
        digest = self.damage({'missing': Path.unlink})['missing']
        run = run_orlop('check', '--data', self.data, '--listen', '127.0.0.1:0')
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stdout, rf'(?m)^wrong  blob {digest}: its file is missing\n       mend: \S')
        self.assertRegex(run.stdout, r'(?m)^1 thing is wrong$')

    def test_a_manifest_whose_parts_are_missing(self):
        """Rows that a broken database might lack; a link that is missing is made again, what is not stored cannot be."""
        with Registry(self.orlop) as registry:
            signature = manifest(b'{}', [], subject=descriptor(OCI_MANIFEST, self.image))
            registry.push_manifest(REPOSITORY, digest_of(signature), signature)
        self.orlop.stop()
        with sqlite3.connect(self.data / 'orlop.db') as database:
            flipped = database.execute('SELECT id FROM blobs WHERE hex(digest) LIKE ?',
                                       ['%' + digest_of(self.layers['flipped']).partition(':')[2].upper()]).fetchone()[0]
            database.execute('DELETE FROM manifest_blobs WHERE blob_id = ?', [flipped])
        database.close()
        [finding] = self.check(status=1).all('finding')
        self.assertEqual((finding['what'], finding['name'], finding['repository']), ('manifest', digest_of(self.image), REPOSITORY))
        self.assertIn('is not linked', finding['wrong'])
        self.assertEqual(self.check('--repair').total, {'kind': 'total', 'blobs': 6, 'files': 4, 'manifests': 2, 'wrong': 1, 'mended': 1})
        self.assertEqual(self.check().total['wrong'], 0)
        with sqlite3.connect(self.data / 'orlop.db') as database:
            database.execute('PRAGMA foreign_keys = off')
            for table in ('manifest_blobs', 'repository_blobs'):
                database.execute(f'DELETE FROM {table} WHERE blob_id = ?', [flipped])
            database.execute('DELETE FROM blobs WHERE id = ?', [flipped])
        database.close()
        found = self.check(status=1).all('finding')
        self.assertEqual(sorted(line['what'] for line in found), ['file', 'manifest'])
        os.utime(object_of(self.data, digest_of(self.layers['flipped'])), (0, 0))      # a running store's new files are left alone
        orlop = self.start()
        with Registry(orlop) as registry:
            registry.push_blob(REPOSITORY, self.layers['flipped'])
            registry.push_manifest(REPOSITORY, 'v1', self.image)
        answer = self.check('--repair')
        self.assertEqual([line['what'] for line in answer.all('finding')], ['file'])
        self.assertEqual(self.check().total['wrong'], 0)

    def test_a_damaged_database(self):
        """Damage inside is found by SQLite's own checks, and the copy beside it brings the store back."""
        self.orlop.stop()
        orlop = self.start('--scrub-period', '0')
        with Registry(orlop) as registry:
            for number in range(300):
                registry.push_manifest(REPOSITORY, f't{number}', manifest(b'{}', [], annotations={'n': f'{number}' * 50}))
        orlop.stop()                    # the copy is made
        path = self.data / 'orlop.db'
        size = path.stat().st_size
        with open(path, 'r+b') as file:
            for page in range(20, size // 4096 - 4, 5):
                file.seek(page * 4096)
                file.write(os.urandom(512))
        run = run_orlop('check', '--data', self.data, '--listen', '127.0.0.1:0')
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stdout, r'(?m)^wrong  database: the database is damaged: [^*\n]*\n       mend: .*orlop rebuild')
        run = run_orlop('rebuild', '--data', self.data)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertEqual(self.check().total['wrong'], 0)
        orlop = self.start()
        with Registry(orlop) as registry:
            self.assertEqual(registry.manifest(REPOSITORY, 'v1').body, self.image)
            for number in range(300):
                self.assertEqual(registry.manifest(REPOSITORY, f't{number}').status, 200)


if __name__ == '__main__':
    unittest.main()
