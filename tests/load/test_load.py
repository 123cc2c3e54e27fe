"""32 clients at once for a minute, pushing and pulling equal and different images, mounting, deleting, listing: no error, no wrong
digest; afterwards the database is whole and the files on disk equal its rows. TEST_LOAD_SECONDS sets the time."""
import multiprocessing
import os
import random
import threading
import time
import traceback
import unittest

from support.daemon import Daemon
from support.registry import Registry, digest_of, expect, manifest
from support.store import check_store

SECONDS = float(os.environ.get('TEST_LOAD_SECONDS', 60))
PROCESSES, THREADS = 4, 8
SHARED_IMAGES = 6
SHARED_SIZES = (10, 5_000, 100_000, 1_000_000, 3_000_000)


class Client:
    """One of the 32: does what chance says until its time is over. Its own repository holds what only it changes."""

    def __init__(self, orlop, number, until):
        self.random = random.Random(number)
        self.orlop, self.until = orlop, until
        self.own, self.mine = f'load/own-{number}', {}
        self.done = 0

    def run(self):
        steps = (self.push_shared, self.push_shared, self.pull_shared, self.pull_shared, self.pull_shared, self.push_own, self.push_own,
                 self.pull_own, self.mount, self.delete_own, self.list_all)
        with Registry(self.orlop) as self.registry:
            while time.time() < self.until:
                self.random.choice(steps)()
                self.done += 1

    def shared(self):
        """(repository, tag, config, layers) of an image that all clients push alike."""
        number = self.random.randrange(SHARED_IMAGES)
        generator = random.Random(f'shared {number}')
        layers = [generator.randbytes(size) for size in generator.sample(SHARED_SIZES, 3)]
        return f'load/shared-{number % 3}', f't{number}', b'{"shared":%d}' % number, layers

    def push(self, repository, tag, config, layers):
        for blob in (config, *layers):
            if self.random.random() < 0.5 and self.registry.blob(repository, digest_of(blob), 'HEAD').status == 200:
                continue
            self.registry.push_blob(repository, blob)
        data = manifest(config, layers)
        self.registry.push_manifest(repository, tag, data)
        return data

    def pull(self, repository, data):
        """Every part of an image, compared with its digest."""
        value = self.registry.manifest(repository, digest_of(data))
        assert value.status == 200 and value.body == data, value
        for part in [value.json()['config'], *value.json()['layers']]:
            answer = expect(self.registry.blob(repository, part['digest']), 200)
            assert digest_of(answer.body) == part['digest'], f'{part["digest"]} has other bytes'

    def push_shared(self):
        self.push(*self.shared())

    def pull_shared(self):
        repository, tag, config, layers = self.shared()
        answer = expect(self.registry.manifest(repository, tag), 200, 404)
        if answer.status == 200:
            assert answer.body == manifest(config, layers)
            self.pull(repository, answer.body)

    def push_own(self):
        tag = f't{self.random.randrange(10)}'
        layers = [self.random.randbytes(self.random.choice((0, 100, 7_000, 9_000, 300_000)))]
        self.mine[tag] = self.push(self.own, tag, b'{"r":"%d"}' % self.random.randrange(1 << 60), layers)

    def pull_own(self):
        if self.mine:
            tag, data = self.random.choice(sorted(self.mine.items()))
            assert expect(self.registry.manifest(self.own, tag), 200).body == data
            self.pull(self.own, data)

    def delete_own(self):
        if self.mine:
            tag = self.random.choice(sorted(self.mine))
            digest = digest_of(self.mine.pop(tag))
            expect(self.registry.request('DELETE', f'/v2/{self.own}/manifests/{digest}'), 202)
            expect(self.registry.manifest(self.own, tag), 404)
            self.mine = {name: data for name, data in self.mine.items() if digest_of(data) != digest}

    def mount(self):
        repository, _, _, layers = self.shared()
        digest = digest_of(layers[0])
        answer = self.registry.request('POST', f'/v2/{self.own}/blobs/uploads/?mount={digest}&from={repository}', (), b'')
        expect(answer, 201, 202)
        if answer.status == 202:
            expect(self.registry.request('DELETE', answer['Location']), 204)
        else:
            assert expect(self.registry.blob(self.own, digest), 200).body == layers[0]

    def list_all(self):
        expect(self.registry.request('GET', '/v2/_catalog?n=10'), 200)
        answer = expect(self.registry.tags(self.own), 200, 404)
        if answer.status == 200:
            assert set(self.mine) == set(answer.json()['tags']), (sorted(self.mine), answer)


def run_clients(orlop, first, until, results):
    """A process: THREADS clients. Reports how much was done, and what went wrong."""
    clients = [Client(orlop, first + i, until) for i in range(THREADS)]
    errors = []

    def run(client):
        try:
            client.run()
        except BaseException:
            errors.append(traceback.format_exc())
    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((sum(client.done for client in clients), errors, [(client.own, client.mine) for client in clients]))


class LoadTest(unittest.TestCase):
    def load(self, orlop, seconds):
        context = multiprocessing.get_context('fork')
        results = context.Queue()
        until = time.time() + seconds
        processes = [context.Process(target=run_clients, args=(orlop, i * THREADS, until, results)) for i in range(PROCESSES)]
        for process in processes:
            process.start()
        reports = [results.get(timeout=seconds + 120) for _ in processes]
        for process in processes:
            process.join()
        errors = [error for _, errors, _ in reports for error in errors]
        self.assertEqual(errors, [], ''.join(errors[:3]))
        return sum(done for done, _, _ in reports), {own: mine for _, _, left in reports for own, mine in left}

    def test_32_clients(self):
        with Daemon('--log-level', 'warn') as orlop:
            done, left = self.load(orlop, SECONDS)
            print(f'# {done} steps in {SECONDS:g} s', flush=True)
            self.assertGreater(done, PROCESSES * THREADS)
            orlop.restart()
            with Registry(orlop) as registry:
                for repository, images in left.items():
                    for tag, data in images.items():
                        self.assertEqual(registry.manifest(repository, tag).body, data)
            orlop.stop()
            self.assertNotRegex(orlop.log(), r'(?m)^\S+ (error|warn)')
            check_store(orlop.data)

    def test_32_clients_over_tls(self):
        with Daemon('--log-level', 'warn', tls=True) as orlop:
            self.load(orlop, SECONDS / 4)
            orlop.stop()
            check_store(orlop.data)
