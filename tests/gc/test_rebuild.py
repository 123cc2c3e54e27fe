"""orlop rebuild on stores that are damaged on purpose: what can be had comes back byte by byte, what cannot is told, nothing is deleted,
and the registry that starts afterwards is whole: its own check says so, and pushes mend what is missing."""
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from support.daemon import Daemon, StartFailed, binary
from support.registry import OCI_INDEX, OCI_MANIFEST, Registry, descriptor, digest_of, index, manifest
from support.store import check_store

PAGE = 4096


def orlop(command, data, *flags):
    return subprocess.run([binary(), command, '--data', str(data), *flags], capture_output=True, text=True, timeout=120)


def bytes_of(seed, size):
    return random.Random(seed).randbytes(size)


class Store:
    """A data folder, and what clients have put into it: {(repository, reference): bytes of the manifest}, {(repository, digest): bytes}."""

    def __init__(self, data):
        self.data, self.manifests, self.blobs = data, {}, {}

    def database(self, suffix=''):
        return self.data / f'orlop.db{suffix}'

    def push(self, registry, repository, tag, seed):
        config, layers = b'{"seed":"%s"}' % seed.encode(), [bytes_of(seed, 20_000), bytes_of(f'{seed} large', 300_000), b'shared' * 5000]
        data = registry.push_image(repository, tag, config, layers)
        self.manifests[repository, tag] = self.manifests[repository, digest_of(data)] = data
        self.blobs.update({(repository, digest_of(blob)): blob for blob in (config, *layers)})
        return data

    def fill(self, registry, name, count):
        for number in range(count):
            self.push(registry, f'{name}/{number % 3}', f'v{number}', f'{name} {number}')

    def fill_special(self, registry):
        """An index of an image without a tag, and what refers to it."""
        child = registry.push_image('multi', 'gone', b'{"child":1}', [bytes_of('child', 50_000)])
        listing = index([descriptor(OCI_MANIFEST, child)])
        registry.push_manifest('multi', 'latest', listing, OCI_INDEX)
        registry.request('DELETE', '/v2/multi/manifests/gone')
        signature = manifest(b'{"child":1}', [], subject=descriptor(OCI_INDEX, listing), artifactType='application/x')
        registry.push_manifest('multi', digest_of(signature), signature)
        self.manifests.update({('multi', 'latest'): listing, ('multi', digest_of(child)): child, ('multi', digest_of(signature)): signature})
        self.subject, self.referrer = digest_of(listing), digest_of(signature)

    def files(self):
        return {str(path.relative_to(self.data)): path.read_bytes() for path in self.data.rglob('*') if path.is_file()}


class RebuildTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-rebuild-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.store = Store(self.folder / 'data')
        self.data = self.store.data

    def make(self, old=9, new=0, kill=True):
        """old images are in the copy; the new ones came after it, and the registry was killed. Returns the old ones."""
        with Daemon(data=self.data) as daemon, Registry(daemon) as registry:
            self.store.fill(registry, 'old', old)
            self.store.fill_special(registry)
        before = dict(self.store.manifests)
        if new or not kill:
            daemon = Daemon('--copy-interval', '0', data=self.data).start()
            with Registry(daemon) as registry:
                self.store.fill(registry, 'new', new)
            daemon.kill()
            daemon.clean()
        return before

    def settle(self):
        """Nothing is left in the log, which would mend the database's pages by itself."""
        with sqlite3.connect(self.store.database()) as database:
            database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        database.close()

    def rebuild(self, *flags, status=0):
        run = orlop('rebuild', self.data, '--json', *flags)
        self.assertEqual((run.returncode if status is not None else None, run.stderr), (status, ''), run.stdout + run.stderr)
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        self.lost = [line for line in lines if line['kind'] == 'lost']
        self.findings = [line for line in lines if line['kind'] == 'finding']
        self.source = {line['what']: line for line in lines if line['kind'] == 'source'}
        self.verdict = next(line for line in lines if line['kind'] == 'database')
        self.total = lines[-1]
        return self.total

    def expect(self, manifests=None, whole=True):
        """A registry that serves all of it, whose own check is content."""
        wanted = self.store.manifests if manifests is None else manifests
        with Daemon(data=self.data) as daemon, Registry(daemon) as registry:
            for (repository, reference), data in wanted.items():
                answer = registry.manifest(repository, reference)
                self.assertEqual((answer.status, answer.body), (200, data), f'{repository} {reference}')
                for part in json.loads(data).get('layers', []):
                    answer = registry.blob(repository, part['digest'])
                    self.assertEqual((answer.status, digest_of(answer.body)), (200, part['digest']), f'{repository} {part}')
            if ('multi', 'latest') in wanted:
                answer = registry.request('GET', f'/v2/multi/referrers/{self.store.subject}')
                self.assertEqual([entry['digest'] for entry in json.loads(answer.body)['manifests']], [self.store.referrer])
        if whole:
            check_store(self.data)
            run = orlop('check', self.data, '--bytes', '--listen', '127.0.0.1:0')
            self.assertEqual(run.returncode, 0, run.stdout)

    def collect(self):
        for _ in range(2):
            time.sleep(1.1)
            run = orlop('gc', self.data, '--gc-grace', '1s', '--gc-trash-delay', '1s')
            self.assertEqual(run.returncode, 0, run.stderr)

    def aside(self):
        return sorted(path.name.partition('Z-')[2] for path in (self.data / 'lost+found').iterdir())

    # --- damage -------------------------------------------------------------------------------------------------------

    def spoil(self, path, start, size=None):
        data = bytearray(path.read_bytes())
        end = len(data) if size is None else start + size
        data[start:end] = bytes(end - start)
        path.write_bytes(data)

    def page_of(self, table):
        """Of a leaf of this table, in the middle."""
        with sqlite3.connect(f'file:{self.store.database()}?mode=ro', uri=True) as database:
            pages = database.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno", (table,)).fetchall()
        database.close()
        return pages[len(pages) // 2][0]

    def test_header(self):
        self.make(new=5)
        self.settle()
        original = self.store.files()
        self.spoil(self.store.database(), 0, 100)
        refused = Daemon(data=self.data)
        with self.assertRaisesRegex(StartFailed, 'orlop rebuild'):
            refused.start()
        run = orlop('check', self.data, '--listen', '127.0.0.1:0')
        self.assertEqual(run.returncode, 1)
        self.assertIn('orlop rebuild', run.stdout)
        self.rebuild()
        self.assertEqual(self.source['copy']['manifests'], 0)
        self.assertIn('orlop.db', self.aside())
        self.assertIn('orlop.db.copy', self.aside())
        kept = next((self.data / 'lost+found').glob('*Z-orlop.db')).read_bytes()
        self.assertEqual(kept[100:], original['orlop.db'][100:])
        self.expect()

    def test_first_page_and_no_copy(self):
        self.make(new=5)
        self.settle()
        self.spoil(self.store.database(), 0, PAGE)
        self.store.database('.copy').unlink()
        self.rebuild()
        self.assertFalse(self.source['copy']['found'])
        self.expect()

    def test_pages_of_tables(self):
        """What one page held, the copy has, or another table."""
        self.make(old=30, new=5)
        self.settle()
        intact = self.store.files()
        for tables in (['blobs'], ['manifest_blobs'], ['repository_blobs'], ['tags'], ['repositories'], ['manifest_references'],
                       ['manifests', 'tags', 'blobs', 'sqlite_schema']):
            with self.subTest(tables=tables):
                shutil.rmtree(self.data / 'lost+found', ignore_errors=True)
                for suffix in ('', '.copy'):
                    self.store.database(suffix).write_bytes(intact['orlop.db' + suffix])
                for table in tables:
                    self.spoil(self.store.database(), (self.page_of(table) - 1) * PAGE, PAGE)
                self.rebuild(status=None)
                self.assertFalse(self.verdict['whole'])
                if self.findings:       # small blobs that stood on the page of 'blobs' and came after the copy
                    self.assertIn('blobs', tables)
                    self.assertEqual({finding.get('repository', 'new/0')[:4] for finding in self.findings}, {'new/'})
                    with Daemon(data=self.data) as daemon, Registry(daemon) as registry:
                        self.store.fill(registry, 'new', 5)
                    self.collect()
                self.assertEqual(self.lost, [])
                self.expect()

    def test_cut_in_half(self):
        """The numbers of tables' pages survive in the first half; what was in the other comes from the copy."""
        old = self.make(old=20, new=5)
        self.settle()
        path = self.store.database()
        os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE + 100)
        run = orlop('rebuild', self.data, '--json')
        self.assertIn(run.returncode, (0, 1), run.stderr)
        self.expect(old, whole=False)

    def test_missing(self):
        old = self.make(old=9, new=5)
        for suffix in ('', '-wal', '-shm'):
            self.store.database(suffix).unlink(missing_ok=True)
        refused = Daemon(data=self.data)
        with self.assertRaisesRegex(StartFailed, 'orlop rebuild'):
            refused.start()
        self.assertFalse(self.store.database().exists())
        total = self.rebuild(status=1)
        self.assertEqual((total['tags'], total['missing'], total['blobs_unnamed']), (10, 0, 10))
        self.assertIn('missing', self.verdict['damage'])
        self.assertNotIn('set_aside', self.verdict)
        self.assertTrue(total['names_lost'])
        self.expect(old)
        # What came after the copy is pushed again, and what nobody pushes goes by itself.
        with Daemon(data=self.data) as daemon, Registry(daemon) as registry:
            self.store.fill(registry, 'new', 4)
        self.collect()
        self.assertNotIn(digest_of(bytes_of('new 4 large', 300_000)), check_store(self.data))
        for reference in ('v4', digest_of(self.store.manifests['new/1', 'v4'])):
            del self.store.manifests['new/1', reference]
        self.expect()

    def test_rubbish_in_the_log(self):
        self.make(new=5)
        self.settle()
        self.store.database('-wal').write_bytes(os.urandom(50_000))
        self.rebuild()
        self.assertIn('orlop.db-wal', self.aside())
        self.assertIn('log', self.verdict['damage'])
        self.expect()

    def test_header_of_the_log(self):
        """One bit that SQLite's own sum covers: it would take the log for empty, and write over it."""
        old = self.make(new=5)
        log = self.store.database('-wal')
        data = bytearray(log.read_bytes())
        data[17] ^= 1
        log.write_bytes(data)
        self.store.database('-shm').unlink(missing_ok=True)
        self.rebuild(status=1)
        self.assertIn('log', self.verdict['damage'])
        self.assertEqual(next((self.data / 'lost+found').glob('*Z-orlop.db-wal')).read_bytes(), data)
        self.expect(old)

    def test_log_cut_short(self):
        """A log is taken as far as it is good; files of what it lost wait for their review."""
        old = self.make(new=5)
        log = self.store.database('-wal')
        os.truncate(log, log.stat().st_size // 2)
        self.store.database('-shm').unlink(missing_ok=True)
        self.assertIn(orlop('rebuild', self.data).returncode, (0, 1))
        self.expect(old)

    def test_nothing_is_left(self):
        """Files alone: their blobs come back, and nobody knows their names."""
        self.make(old=3, kill=True)
        for path in self.data.glob('orlop.db*'):
            path.write_bytes(os.urandom(3 * PAGE))
        total = self.rebuild(status=1)
        self.assertEqual((total['repositories'], total['blobs']), (0, 8))
        self.assertEqual(sorted(self.aside()), ['orlop.db', 'orlop.db.copy'])
        self.expect({})

    def test_files(self):
        """A file that is gone and one that is spoiled: the images are told, not served in part, and the next push mends them."""
        self.make(old=3)
        data = self.store.manifests['old/1', 'v1']
        first, second = (json.loads(data)['layers'][number]['digest'] for number in (0, 1))
        next(self.data.rglob(f'{first.partition(":")[2]}.*')).unlink()
        spoiled = next(self.data.rglob(f'{second.partition(":")[2]}.*'))
        spoiled.chmod(0o644)
        self.spoil(spoiled, 100, 10)
        self.store.database().unlink()
        self.rebuild('--bytes', status=1)
        wrong = {(finding['what'], finding['name']) for finding in self.findings}
        self.assertEqual(wrong, {('blob', first), ('blob', second), ('manifest', digest_of(data))})
        with Daemon(data=self.data) as daemon, Registry(daemon) as registry:
            self.assertEqual(registry.blob('old/1', first, 'HEAD').status, 404)
            self.store.push(registry, 'old/1', 'v1', 'old 1')
        self.collect()
        self.expect()

    def test_a_file_that_comes_back(self):
        """From a backup, after it was marked: it is served again."""
        self.make(old=3)
        digest = json.loads(self.store.manifests['old/1', 'v1'])['layers'][0]['digest']
        path = next(self.data.rglob(f'{digest.partition(":")[2]}.*'))
        path.rename(self.folder / 'backup')
        self.rebuild(status=1)
        (self.folder / 'backup').rename(path)
        self.rebuild()
        self.assertEqual([(finding['name'], finding['mended']) for finding in self.findings], [(digest, True)])
        self.expect()

    def test_a_blob_before_its_rename(self):
        """The power went between a commit and the file's rename: the bytes are found under the upload's name."""
        self.make(old=3)
        digest = json.loads(self.store.manifests['old/1', 'v1'])['layers'][0]['digest']
        path = next(self.data.rglob(f'{digest.partition(":")[2]}.*'))
        path.rename(self.data / 'uploads' / ('0' * 32))
        self.store.database().unlink()
        self.assertEqual(self.rebuild()['blobs_mended'], 1)
        self.expect()

    def test_files_of_no_use(self):
        self.make(old=3)
        objects = self.data / 'blobs/sha256/ab'
        objects.mkdir(exist_ok=True)
        (objects / f'{"ab" * 32}.{"0" * 32}').write_bytes(b'other bytes')
        (self.data / 'blobs/sha256/readme').write_bytes(b'a note')
        self.store.database().unlink()
        self.rebuild()
        self.assertIn('readme', [path.name for path in (self.data / 'lost+found').iterdir()])
        self.expect()

    def test_a_whole_store(self):
        self.make(old=3)
        before = self.store.files()
        total = self.rebuild()
        self.assertTrue(self.verdict['whole'])
        self.assertEqual((total['tags'], total['missing'], total['blobs_unnamed']), (4, 0, 0))
        self.assertFalse((self.data / 'lost+found').exists())
        self.assertEqual(set(self.store.files()), set(before))
        self.expect()

    def test_dry_run(self):
        self.make(new=3)
        self.settle()
        self.spoil(self.store.database(), 0, 100)
        before = self.store.files()
        dry = self.rebuild('--dry-run')
        after = self.store.files()
        del before['lock'], after['lock']
        self.assertEqual(after, before)
        total = self.rebuild()
        self.assertEqual({**dry, 'dry_run': False}, total)
        self.expect()

    def test_a_registry_that_runs(self):
        self.make(old=1)
        with Daemon(data=self.data):
            run = orlop('rebuild', self.data)
        self.assertEqual(run.returncode, 1)
        self.assertIn('stop the registry first', run.stderr)
        run = orlop('rebuild', self.folder / 'nowhere')
        self.assertEqual(run.returncode, 1)
        self.assertIn('no store', run.stderr)

    def test_killed_before_the_old_database_went(self):
        """What was rebuilt then is older than what an older program may have put into the database since: it is made anew."""
        self.make(old=3)
        self.settle()
        stale = self.store.database().read_bytes()
        with Daemon(data=self.data) as daemon, Registry(daemon) as registry:
            self.store.fill(registry, 'new', 3)
        self.store.database('.rebuilt').write_bytes(stale)
        with self.assertRaisesRegex(StartFailed, 'orlop rebuild'):
            Daemon(data=self.data).start()
        self.rebuild()
        self.assertFalse(self.store.database('.rebuilt').exists())
        self.expect()

    def give_to_another(self):
        """lost+found as mkfs makes it: not ours."""
        (self.data / 'lost+found').mkdir(mode=0o500)
        if os.geteuid() == 0:
            self.folder.chmod(0o711)
            for path in (self.data, *self.data.rglob('*')):
                if path.name != 'lost+found':
                    os.chown(path, 65534, 65534)

    def test_lost_found_of_another(self):
        self.make(old=3)
        self.settle()
        note = self.data / 'blobs/sha256/readme'
        note.write_bytes(b'a note')
        os.utime(note, (0, 0))
        self.give_to_another()
        run = orlop('check', self.data, '--repair', '--listen', '127.0.0.1:0')
        self.assertIn('chown --reference', run.stdout)
        self.assertTrue(note.exists())
        self.spoil(self.store.database(), 0, 100)
        before = self.store.files()
        run = orlop('rebuild', self.data)
        self.assertEqual(run.returncode, 1)
        self.assertIn('chown --reference', run.stderr)
        self.assertEqual({**self.store.files(), 'lock': b''}, {**before, 'lock': b''})
        (self.data / 'lost+found').chmod(0o700)
        if os.geteuid() == 0:
            os.chown(self.data / 'lost+found', 65534, 65534)
        self.rebuild()
        self.assertIn('orlop.db', self.aside())
        self.expect()

    def test_type_of_a_manifest(self):
        """Its bytes are good, but they are not what its row says: it is told, all others are looked at, and the next push mends it."""
        self.make(old=3)
        data = self.store.manifests['old/1', 'v1']
        self.settle()
        with sqlite3.connect(self.store.database()) as database:
            database.execute("UPDATE manifests SET media_type = 'x' || media_type WHERE CAST(payload AS BLOB) = ?", (data,))
        database.close()
        for command in ('check', 'rebuild'):
            run = orlop(command, self.data, *(('--repair', '--listen', '127.0.0.1:0') if command == 'check' else ()))
            self.assertEqual((run.returncode, run.stderr), (1, ''))
            self.assertIn(digest_of(data), run.stdout)
            self.assertIn('push it again', run.stdout)
        with Daemon(data=self.data) as daemon, Registry(daemon) as registry:
            self.store.push(registry, 'old/1', 'v1', 'old 1')
        self.expect()

    def test_killed(self):
        """At any moment, again and again; and between the last renames nobody begins a new store."""
        old = self.make(old=20)
        self.settle()
        self.spoil(self.store.database(), 0, 100)
        for number in range(12):
            with subprocess.Popen([binary(), 'rebuild', '--data', str(self.data)], stdout=subprocess.DEVNULL) as process:
                time.sleep(number * 0.004)
                process.send_signal(signal.SIGKILL)
        # As if it had been killed before its last step.
        if self.store.database().exists():
            self.rebuild()
            self.store.database().rename(self.store.database('.rebuilt'))
        refused = Daemon(data=self.data)
        with self.assertRaisesRegex(StartFailed, 'orlop rebuild'):
            refused.start()
        self.rebuild()
        self.expect(old)
        self.assertEqual([path for path in self.data.iterdir() if 'rebuil' in path.name or 'mending' in path.name], [])


if __name__ == '__main__':
    unittest.main()
