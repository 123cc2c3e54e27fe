"""A disk that is full up to the reserve: pushes get a clear error, everything else goes on, and pushes work again by themselves."""
import json
import os
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from support.commands import ask, run_orlop
from support.daemon import Daemon
from support.registry import OCI_MANIFEST, Registry, digest_of
from support.wire import chunked

MIB = 1 << 20


@unittest.skipUnless(os.geteuid() == 0, 'mounting a file system needs root')
class FullDiskTest(unittest.TestCase):
    def setUp(self):
        self.place = Path(tempfile.mkdtemp(prefix='orlop-full-'))
        mount = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64m', 'none', str(self.place)], capture_output=True, check=False)
        if mount.returncode:
            self.place.rmdir()
            self.skipTest(f'no file system of its own can be mounted here: {mount.stderr}')
        self.addCleanup(self.unmount)

    def unmount(self):
        subprocess.run(['umount', str(self.place)], check=True)
        self.place.rmdir()

    def free(self):
        at = os.statvfs(self.place)
        return at.f_bavail * at.f_frsize

    def push_until_full(self, registry):
        """Statuses and bodies of the push that was refused."""
        for number in range(64):
            data = os.urandom(4 * MIB)
            begun = registry.request('POST', '/v2/full/app/blobs/uploads/', [('Content-Length', 0)])
            if begun.status != 202:
                return number, begun
            answer = registry.request('PUT', f'{begun["Location"]}?digest={digest_of(data)}', [], data)
            if answer.status != 201:
                return number, answer
        raise AssertionError('the disk never was full')

    def test_reserve(self):
        flags = ('--disk-reserve', '16MiB', '--gc-grace', '1s', '--gc-interval', '1s', '--gc-trash-delay', '1s')
        with Daemon(*flags, data=self.place / 'data') as orlop, Registry(orlop) as registry:
            image = registry.push_image('full/app', 'v1', layers=(os.urandom(MIB),))
            count, refused = self.push_until_full(registry)
            self.assertGreater(count, 5)
            self.assertEqual(refused.status, 507)
            self.assertIn('full', json.loads(refused.body)['errors'][0]['message'])
            self.assertGreaterEqual(self.free(), 12 * MIB)
            self.assertEqual(registry.manifest('full/app', 'v1').body, image)
            layer = json.loads(image)['layers'][0]['digest']
            self.assertEqual(digest_of(registry.blob('full/app', layer).body), layer)
            self.assertEqual(registry.request('DELETE', f'/v2/full/app/manifests/{digest_of(image)}').status, 202)
            # The collector gives the blobs back that no manifest names, and then pushes work.
            deadline = time.monotonic() + 30
            while registry.request('POST', '/v2/full/app/blobs/uploads/', [('Content-Length', 0)]).status != 202:
                self.assertLess(time.monotonic(), deadline, 'pushes are still refused')
                time.sleep(0.2)
            deadline = time.monotonic() + 30
            while self.free() < 56 * MIB:
                self.assertLess(time.monotonic(), deadline, 'the space did not come back')
                time.sleep(0.2)
            registry.push_image('full/app', 'v2', layers=(os.urandom(8 * MIB),))

    def fill(self, leave):
        """A file of somebody else's takes the space."""
        with open(self.place / 'other', 'wb') as file:
            os.posix_fallocate(file.fileno(), 0, self.free() - leave)
        time.sleep(1.1)                 # the registry looks once a second

    def make_room(self):
        (self.place / 'other').unlink()
        time.sleep(0.3)                 # and more often while it is full

    def test_uploads_go_on_afterwards(self):
        """What ran into the full disk is as it was before, whether its bytes wait in the database or in a file: it can be looked at,
        cancelled, and gone on with."""
        with Daemon('--disk-reserve', '16MiB', data=self.place / 'data') as orlop, Registry(orlop) as registry:
            begun = {before: os.urandom(before) for before in (0, 100, 8192, 8193, MIB)}
            places = {before: registry.begin_upload('full/app') for before in begun}
            cancelled = [registry.begin_upload('full/app') for _ in range(2)]
            for before, data in begun.items():
                if data:
                    self.assertEqual(registry.request('PATCH', places[before], [], data).status, 202)
            for place, size in zip(cancelled, (100, MIB)):
                self.assertEqual(registry.request('PATCH', place, [], b'x' * size).status, 202)
            self.fill(leave=15 * MIB)
            for restart in (False, True):
                if restart:             # sessions are read from the database again
                    registry.close()
                    orlop.restart()
                for before, place in places.items():
                    for headers, body in ((), b'x' * 10), ([('Transfer-Encoding', 'chunked')], chunked(b'x' * 10)):
                        with Registry(orlop) as other:
                            answer = other.request('PATCH', place, headers, body)
                        self.assertEqual((answer.status, answer.error_code()), (507, 'DENIED'))
                        self.assertIn('full', answer.message())
                    answer = registry.request('GET', place)
                    self.assertEqual((answer.status, answer['Range']), (204, f'0-{max(before - 1, 0)}'))
            for place in cancelled:
                self.assertEqual(registry.request('DELETE', place).status, 204)
                self.assertEqual(registry.request('GET', place).status, 404)
            self.make_room()
            for before, place in places.items():
                data = begun[before] + b'the end'
                self.assertEqual(registry.request('PUT', f'{place}?digest={digest_of(data)}', [], b'the end').status, 201)
                self.assertEqual(registry.blob('full/app', digest_of(data)).body, data)

    def test_full_in_the_middle_of_a_body(self):
        """A body of unknown length: what came is given back, and what the session had before is still there."""
        with Daemon('--disk-reserve', '16MiB', data=self.place / 'data') as orlop, Registry(orlop) as registry:
            first = os.urandom(MIB)
            places = [registry.begin_upload('full/app') for _ in range(2)]
            self.assertEqual(registry.request('PATCH', places[1], [], first).status, 202)
            free = self.free()
            for place, before in zip(places, (0, MIB)):
                with orlop.connect() as connection:
                    connection.send(connection.head('PATCH', place, [('Transfer-Encoding', 'chunked')]))
                    piece = b'%x\r\n%s\r\n' % (4 * MIB, b'x' * (4 * MIB))
                    try:
                        for _ in range(16):
                            connection.send(piece)
                    except OSError:
                        pass            # it was refused before its end
                    self.assertEqual(connection.response('PATCH').status, 507)
                deadline = time.monotonic() + 10
                while self.free() < free - MIB and time.monotonic() < deadline:
                    time.sleep(0.05)
                self.assertGreaterEqual(self.free(), free - MIB)
                time.sleep(0.3)
                self.assertEqual(registry.request('GET', place)['Range'], f'0-{max(before - 1, 0)}')
            answer = registry.request('PUT', f'{places[1]}?digest={digest_of(first)}', [('Content-Length', 0)])
            self.assertEqual(answer.status, 201)
            self.assertEqual(registry.blob('full/app', digest_of(first)).body, first)

    def test_what_goes_on(self):
        """Pulls, deletions, collection and the commands; status says that pushes are refused."""
        # The grace is for a busy machine: between a layer and its manifest.
        flags = ('--gc-grace', '8s', '--gc-interval', '1s', '--gc-trash-delay', '1s')
        with Daemon('--disk-reserve', '16MiB', *flags, data=self.place / 'data') as orlop, Registry(orlop) as registry:
            layers = [os.urandom(MIB) for _ in range(2)]
            images = [registry.push_image('full/app', f'v{number}', layers=(layer,)) for number, layer in enumerate(layers)]
            self.fill(leave=4 * MIB)
            for answer in (registry.request('POST', '/v2/full/app/blobs/uploads/', [('Content-Length', 0)]),
                           registry.request('PUT', '/v2/full/app/manifests/new', [('Content-Type', OCI_MANIFEST)], images[0]),
                           registry.request('POST', f'/v2/full/fork/blobs/uploads/?mount={digest_of(layers[0])}&from=full/app',
                                            [('Content-Length', 0)])):
                self.assertEqual((answer.status, answer.error_code()), (507, 'DENIED'))
            self.assertEqual(registry.blob('full/app', digest_of(layers[1])).body, layers[1])
            self.assertTrue(ask(orlop.data, 'status').one('store')['pushes_refused'])
            self.assertIn('PUSHES ARE REFUSED', run_orlop('status', '--data', orlop.data).stdout)
            self.assertEqual(registry.request('DELETE', f'/v2/full/app/manifests/{digest_of(images[0])}').status, 202)
            ask(orlop.data, 'rm', 'full/app:v1')
            self.assertEqual(registry.tags('full/app').status, 404)
            deadline = time.monotonic() + 30
            while any(path.is_file() for path in (orlop.data / 'blobs').rglob('*')):
                self.assertLess(time.monotonic(), deadline, 'nothing was collected')
                time.sleep(0.1)
            self.make_room()
            registry.push_image('full/app', 'v2', layers=layers)
            self.assertFalse(ask(orlop.data, 'status').one('store')['pushes_refused'])


if __name__ == '__main__':
    unittest.main()
