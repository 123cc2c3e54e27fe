"""orlop backup and orlop restore with a registry that runs: under load, killed at any moment, while the collector removes what was
deleted, on another file system, with damage on either side."""
import fcntl
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from support.commands import run_orlop
from support.daemon import Daemon, binary
from support.registry import Registry, digest_of, expect
from support.store import check_store

LOAD_SECONDS = 4
QUICK = ('--gc-grace', '1s', '--gc-interval', '1s', '--gc-trash-delay', '1s')
OTHER_FILE_SYSTEM = Path('/dev/shm')


def objects(data):
    return sorted(path for path in (Path(data) / 'blobs').rglob('*') if path.is_file())


class BackupTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-backup-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.data, self.to = self.folder / 'data', self.folder / 'to'

    def start(self, *flags, data=None):
        orlop = Daemon(*flags, data=data or self.data).start()
        self.addCleanup(orlop.clean)
        return orlop

    def ok(self, *arguments):
        run = run_orlop(*arguments)
        self.assertEqual((run.returncode, run.stderr), (0, ''), run.stdout)
        return run.stdout

    def fails(self, message, *arguments):
        run = run_orlop(*arguments)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertRegex(run.stderr, message)
        return run

    def backup(self, *options, to=None):
        return self.ok('backup', to or self.to, '--data', self.data, *options)

    def other_file_system(self):
        if not OTHER_FILE_SYSTEM.is_dir() or OTHER_FILE_SYSTEM.stat().st_dev == self.folder.stat().st_dev:
            self.skipTest('there is no other file system')
        folder = Path(tempfile.mkdtemp(prefix='orlop-backup-', dir=OTHER_FILE_SYSTEM))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def pulled(self, data, images):
        """A registry on that folder serves these images, {(repository, tag): (digest, layer)}, with their bytes."""
        with Daemon(data=data) as orlop, Registry(orlop) as registry:
            for (repository, tag), (digest, layer) in images.items():
                answer = expect(registry.manifest(repository, tag), 200)
                self.assertEqual(digest_of(answer.body), digest)
                self.assertEqual(expect(registry.blob(repository, digest_of(layer)), 200).body, layer)

    def push(self, registry, repository, tag, size=50_000):
        layer = os.urandom(size)
        return digest_of(registry.push_image(repository, tag, layers=(layer,))), layer


class LoadTest(BackupTest):
    def work(self, orlop, number, until, kept):
        """Pushes, moves tags and deletes; `kept` gets what stays."""
        chance = random.Random(number)
        with Registry(orlop) as registry:
            while time.monotonic() < until:
                repository, tag = f'load/{number}', f't{chance.randrange(5)}'
                image = self.push(registry, repository, tag, chance.choice((100, 9_000, 300_000)))
                if chance.random() < 0.5:
                    expect(registry.request('DELETE', f'/v2/{repository}/manifests/{image[0]}'), 202)
                    continue
                image = self.push(registry, f'kept/{number}', f'k{len(kept)}', 20_000)
                kept[f'kept/{number}', f'k{len(kept)}'] = image

    def test_under_load_each_backup_is_whole(self):
        orlop = self.start(*QUICK)
        until = time.monotonic() + LOAD_SECONDS
        kept = [{} for _ in range(4)]
        threads = [threading.Thread(target=self.work, args=(orlop, i, until, kept[i])) for i in range(4)]
        for thread in threads:
            thread.start()
        backups = 0
        while time.monotonic() < until:
            there = {name: image for each in kept for name, image in list(each.items())}
            self.backup('--verify')
            backups += 1
            check_store(self.to)
            self.pulled(self.to, there)
        for thread in threads:
            thread.join()
        self.assertGreaterEqual(backups, 2)
        self.backup()
        orlop.stop()
        # The collector went on between the last backup and the end: the backup may have more, never less.
        self.assertLessEqual(check_store(self.data), check_store(self.to))

    def test_serving_the_backup_leaves_the_original_alone(self):
        orlop = self.start()
        with Registry(orlop) as registry:
            image = self.push(registry, 'app', '1')
        self.backup()
        before = {path: (path.stat().st_ino, path.read_bytes()) for path in objects(self.data)}
        with Daemon(*QUICK, data=self.to) as copy, Registry(copy) as registry:
            expect(registry.request('DELETE', f'/v2/app/manifests/{image[0]}'), 202)
            deadline = time.monotonic() + 20
            while objects(self.to) and time.monotonic() < deadline:
                time.sleep(0.1)
        self.assertEqual(objects(self.to), [])
        self.assertEqual({path: (path.stat().st_ino, path.read_bytes()) for path in objects(self.data)}, before)
        with Registry(orlop) as registry:
            self.assertEqual(expect(registry.blob('app', digest_of(image[1])), 200).body, image[1])
        orlop.stop()


class CollectorTest(BackupTest):
    def test_what_a_backup_reads_is_not_removed(self):
        orlop = self.start(*QUICK)
        with Registry(orlop) as registry:
            image = self.push(registry, 'app', '1')
            hold = os.open(self.data / 'blobs', os.O_RDONLY)        # as a backup does that takes its time
            fcntl.flock(hold, fcntl.LOCK_SH)
            expect(registry.request('DELETE', f'/v2/app/manifests/{image[0]}'), 202)
            time.sleep(5)
            self.assertEqual(len(objects(self.data)), 1)
            os.close(hold)
            deadline = time.monotonic() + 20
            while objects(self.data) and time.monotonic() < deadline:
                time.sleep(0.1)
            self.assertEqual(objects(self.data), [])
        orlop.stop()


class InterruptionTest(BackupTest):
    def test_killed_anywhere_it_goes_on(self):
        to = self.other_file_system() / 'to'            # where files must be written
        orlop = self.start()
        images = {}
        with Registry(orlop) as registry:
            for i in range(20):
                images['app', f't{i}'] = self.push(registry, 'app', f't{i}', 1_000_000)
        chance, killed = random.Random(7), 0
        for _ in range(40):
            process = subprocess.Popen([binary(), 'backup', str(to), '--data', str(self.data)], stdout=subprocess.DEVNULL)
            try:
                process.wait(chance.uniform(0, 0.03))
                shutil.rmtree(to)                       # it was faster: from the start
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
            if not (to / 'orlop.db').exists() and (to / 'orlop.db.partial').exists():
                self.fails('not finished', 'serve', '--data', to, '--listen', '127.0.0.1:0', '--tls', 'off')
        self.assertGreater(killed, 0)
        self.ok('backup', to, '--data', self.data)
        self.assertEqual(len(check_store(to)), 21)      # layers and a configuration
        self.pulled(to, images)
        self.assertIn('20 were there', self.ok('backup', to, '--data', self.data, '--verify'))
        orlop.stop()


class RestoreTest(BackupTest):
    def test_comes_back_with_its_certificate(self):
        with Daemon(data=self.data, tls=True) as orlop, Registry(orlop) as registry:
            image = self.push(registry, 'app', '1')
            authority = (self.data / 'tls' / 'ca.crt').read_bytes()
            self.backup()
        shutil.rmtree(self.data)
        self.assertIn('is restored: 1 repositories, 1 manifests', self.ok('restore', self.to, '--data', self.data))
        self.assertEqual((self.data / 'tls' / 'ca.crt').read_bytes(), authority)
        self.assertEqual((self.data / 'tls' / 'ca.key').stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.data.stat().st_mode & 0o777, 0o700)
        check_store(self.data)
        self.pulled(self.data, {('app', '1'): image})

    def test_only_into_an_empty_folder(self):
        with Daemon(data=self.data):
            self.backup()
        self.fails('not empty', 'restore', self.to, '--data', self.data)
        self.fails('there is no registry', 'restore', self.folder, '--data', self.folder / 'new')
        self.fails('nowhere', 'restore', self.folder / 'nowhere', '--data', self.folder / 'new')
        self.fails('no backup', 'backup', self.data, '--data', self.to)

    def test_not_on_a_backup_that_is_served(self):
        with Daemon(data=self.data):
            self.backup()
            with Daemon(data=self.to):
                self.fails('locked by another process', 'backup', self.to, '--data', self.data)
            self.backup()

    def test_damage_is_found(self):
        with Daemon(data=self.data) as orlop, Registry(orlop) as registry:
            image = self.push(registry, 'app', '1')
        elsewhere = self.other_file_system() / 'to'
        self.backup(to=elsewhere)
        copy = objects(elsewhere)[0]
        self.flip_a_bit(copy)
        self.backup(to=elsewhere)                       # nobody looked
        self.fails(image[1] and 'damaged', 'restore', elsewhere, '--data', self.folder / 'new')
        self.assertIn('1 copied', self.backup('--verify', to=elsewhere))
        self.assertEqual(copy.read_bytes(), image[1])
        self.flip_a_bit(objects(self.data)[0])
        run = self.fails('1 blob is damaged', 'backup', self.folder / 'late', '--data', self.data, '--verify')
        self.assertIn(digest_of(image[1]), run.stderr)
        self.backup(to=elsewhere)                       # the good copy of before stays
        self.pulled(elsewhere, {('app', '1'): image})

    def flip_a_bit(self, path):
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        path.chmod(0o444)


if __name__ == '__main__':
    unittest.main()
