"""Clients that push until somebody stops the daemon, and remember what was acknowledged: after a crash all of it must be there."""
import os
import random
import threading

from support.registry import OCI_MANIFEST, Registry, digest_of, manifest, with_query


class Pushers:
    """Threads that push small images, each its own and some that all push, in several ways.

        with Pushers(orlop, 8) as pushers:      runs until the block ends or the daemon is gone
                ...
        pushers.acknowledged                    {(repository, digest): the blob's bytes} and
        pushers.manifests                       {(repository, reference): the manifest's bytes}, answered with 201
    """

    def __init__(self, orlop, count, sizes=(0, 10, 3000, 20_000, 200_000)):
        self.orlop, self.sizes = orlop, sizes
        self.stopping = threading.Event()
        self.counting = True
        self.lock = threading.Lock()
        self.acknowledged, self.manifests, self.errors = {}, {}, []
        # A push that was not answered may have moved its tag all the same: nobody else uses the same tags.
        self.name = os.urandom(4).hex()
        self.threads = [threading.Thread(target=self.client, args=(i,)) for i in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def count_no_more(self):
        """What is answered from here on is not remembered."""
        with self.lock:
            self.counting = False

    def client(self, number):
        generator = random.Random(f'{number} {os.urandom(8)}')
        round_ = 0
        while not self.stopping.is_set():
            try:
                with Registry(self.orlop) as registry:
                    while not self.stopping.is_set():
                        self.push_image(registry, generator, f'p/{number}', f't{round_}-{self.name}')
                        round_ += 1
            except OSError:                             # the daemon was killed: what was not answered does not count
                if self.orlop.process.poll() is not None or self.stopping.wait(0.05):
                    return
            except AssertionError as error:
                self.errors.append(error)
                return

    def push_image(self, registry, generator, repository, tag):
        layer = generator.randbytes(generator.choice(self.sizes))
        shared = b'shared ' + bytes([generator.randrange(20)]) * 10_000
        config = b'{"n":"' + generator.randbytes(8).hex().encode() + b'"}'
        for blob in (layer, shared, config):
            self.push_blob(registry, generator, repository, blob)
        data = manifest(config, [layer, shared])
        answer = registry.request('PUT', f'/v2/{repository}/manifests/{tag}', [('Content-Type', OCI_MANIFEST)], data)
        self.expect_created(answer)
        with self.lock:
            if self.counting:
                self.manifests[repository, tag] = self.manifests[repository, digest_of(data)] = data

    def push_blob(self, registry, generator, repository, blob):
        digest = digest_of(blob)
        way = generator.randrange(3)
        if way == 0:
            answer = registry.request('POST', f'/v2/{repository}/blobs/uploads/?digest={digest}', (), blob)
        else:
            place = registry.begin_upload(repository)
            if way == 1:
                answer = registry.request('PATCH', place, (), blob)
                assert answer.status == 202, answer
                blob_rest = b''
            else:
                blob_rest = blob
            answer = registry.request('PUT', with_query(place, 'digest', digest), (), blob_rest)
        self.expect_created(answer)
        with self.lock:
            if self.counting:
                self.acknowledged[repository, digest] = blob

    def expect_created(self, answer):
        assert answer.status == 201, answer

    def verify(self, orlop):
        """All that was acknowledged is there, and right."""
        assert not self.errors, self.errors[0]
        with Registry(orlop) as registry:
            for (repository, digest), blob in self.acknowledged.items():
                answer = registry.blob(repository, digest)
                assert answer.status == 200 and answer.body == blob, f'{repository} {digest}: {answer}'
            for (repository, reference), data in self.manifests.items():
                answer = registry.manifest(repository, reference)
                assert answer.status == 200 and answer.body == data, f'{repository} {reference}: {answer}'
