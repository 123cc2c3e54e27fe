"""A disk that is full up to the reserve: pushes get a clear error, everything else goes on, and pushes work again by themselves."""
import json
import os
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from support.daemon import Daemon
from support.registry import Registry, digest_of

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


if __name__ == '__main__':
    unittest.main()
