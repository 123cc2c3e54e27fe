"""The power goes: a file system on a loop device is stopped without its journal being written (FS_IOC_SHUTDOWN), while clients push.
After mounting it again everything that was answered with 201 is there and right."""
import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from support.daemon import Daemon
from support.pusher import Pushers
from support.store import check_store

ROUNDS = int(os.environ.get('TEST_POWER_ROUNDS', 4))
FS_IOC_SHUTDOWN = 0x8004587d            # _IOR('X', 125, __u32)
SHUTDOWN_NOLOGFLUSH = 2                 # what is not on the disk yet never will be
DISK_BYTES = 1 << 30


class Disk:
    """A file system of its own in a file."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-power-'))
        self.image, self.place = self.folder / 'disk', self.folder / 'mounted'
        self.place.mkdir()
        with open(self.image, 'wb') as file:
            file.truncate(DISK_BYTES)
        try:
            self.run('mkfs.ext4', '-q', '-F', self.image)
            self.mount()
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(self.folder)
            raise unittest.SkipTest(f'no file system of its own can be mounted here: {error}') from error

    def run(self, *command):
        subprocess.run([str(word) for word in command], check=True, capture_output=True)

    def mount(self):
        self.run('mount', '-o', 'loop', self.image, self.place)

    def cut_power(self):
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack('I', SHUTDOWN_NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def restore_power(self):
        """Goes on with what reached the disk. It is copied: a file system that somebody else's mount namespace (a container engine's)
        still holds would be mounted again as it is, cut off."""
        self.run('umount', self.place)
        copy = self.image.with_suffix('.copy')
        self.run('cp', '--sparse=always', self.image, copy)
        copy.rename(self.image)
        self.mount()

    def close(self):
        subprocess.run(['umount', str(self.place)], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@unittest.skipUnless(os.geteuid() == 0, 'mounting a file system needs root')
class PowerCutTest(unittest.TestCase):
    def setUp(self):
        self.disk = Disk()
        self.addCleanup(self.disk.close)

    def test_what_a_power_cut_takes(self):
        """The cut does cut: a file that was not synced is lost, one that was synced is not. Else the next test shows nothing."""
        kept, lost = self.disk.place / 'kept', self.disk.place / 'lost'
        with open(kept, 'wb') as file:
            file.write(b'x' * 5000)
            os.fsync(file.fileno())
        with open(lost, 'wb') as file:
            file.write(b'x' * 5000)
        self.disk.cut_power()
        self.disk.restore_power()
        self.assertEqual(kept.read_bytes(), b'x' * 5000)
        self.assertFalse(lost.exists() and lost.read_bytes() == b'x' * 5000)

    def test_all_that_was_acknowledged_survives(self):
        generator = random.Random(5)
        acknowledged = 0
        crowds = []
        for _ in range(ROUNDS):
            orlop = Daemon(data=self.disk.place / 'data')
            self.addCleanup(orlop.clean)
            orlop.start()
            for pushers in crowds:
                pushers.verify(orlop)
            with Pushers(orlop, 8) as pushers:
                time.sleep(generator.uniform(0.3, 2.0))
                # Without power nothing is answered. Here the daemon lives on for a moment, and ext4 tells some of those whose sync the
                # cut meets that it succeeded (Linux 6.18).
                pushers.count_no_more()
                self.disk.cut_power()
                orlop.kill()
            # What failed because the disk was gone was answered with an error, which is right.
            pushers.errors.clear()
            acknowledged += len(pushers.manifests)
            crowds.append(pushers)
            self.disk.restore_power()
        orlop = Daemon(data=self.disk.place / 'data').start()
        self.addCleanup(orlop.clean)
        for pushers in crowds:
            pushers.verify(orlop)
        orlop.stop()
        check_store(self.disk.place / 'data')
        self.assertGreater(acknowledged, ROUNDS)
