"""kill -9 at any moment: an upload goes on at the offset that its status tells, and everything that was answered with 201 is there
after the next start, with no row without its file and no file without its row."""
import os
import random
import re
import shutil
import tempfile
import time
import unittest
from pathlib import Path

from support.daemon import Daemon
from support.pusher import Pushers
from support.registry import Registry, digest_of, with_query
from support.store import check_store

NOBODY = 65534
ROUNDS = int(os.environ.get('TEST_KILL_ROUNDS', 8))


def received(answer):
    """How many bytes an answer says that the session has."""
    return 0 if answer['Range'] == '0-0' else int(re.fullmatch(r'0-(\d+)', answer['Range'])[1]) + 1


class KillTest(unittest.TestCase):
    def daemon(self):
        """On a folder of somebody without rights, whom root becomes: a mode that shuts root out does not exist."""
        folder = Path(tempfile.mkdtemp(prefix='orlop-kill-'))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        data = folder / 'data'
        data.mkdir(0o700)
        if os.geteuid() == 0:
            os.chown(data, NOBODY, NOBODY)
        return Daemon(data=data)

    def go_on(self, orlop, place, blob, acknowledged):
        """Asks the session where it is, sends the rest from there, and compares the result."""
        with Registry(orlop) as registry:
            answer = registry.request('GET', place)
            self.assertEqual(answer.status, 204)
            at = received(answer)
            self.assertGreaterEqual(at, acknowledged, 'what was answered is gone')
            half = at + (len(blob) - at) // 2
            answer = registry.request('PATCH', place, [('Content-Range', f'{at}-{half - 1}')], blob[at:half])
            self.assertEqual((answer.status, received(answer)), (202, half))
            target = with_query(answer['Location'], 'digest', digest_of(blob))
            self.assertEqual(registry.request('PUT', target, (), blob[half:]).status, 201)
            self.assertEqual(registry.blob('a', digest_of(blob)).body, blob)

    def test_a_push_by_patch_goes_on(self):
        """Killed in the middle of a PATCH whose body is on its way, after one that was answered."""
        blob = os.urandom(20 << 20)
        generator = random.Random(3)
        with self.daemon() as orlop:
            for chunk_form in (False, True):
                with Registry(orlop) as registry:
                    place = registry.begin_upload('a')
                    first = generator.randrange(1, 4 << 20)
                    self.assertEqual(registry.request('PATCH', place, (), blob[:first]).status, 202)
                connection = orlop.connect()
                part = blob[first:15 << 20]
                if chunk_form:
                    connection.send(connection.head('PATCH', place, [('Transfer-Encoding', 'chunked')]))
                    connection.send(b'%x\r\n' % (len(part) + 1000) + part)
                else:
                    connection.send(connection.head('PATCH', place, [('Content-Length', len(part) + 1000)]) + part)
                orlop.kill()
                connection.close()
                orlop.start()
                self.go_on(orlop, place, blob, first)
                with Registry(orlop) as registry:       # so that the next round stores it anew
                    registry.request('DELETE', f'/v2/a/blobs/{digest_of(blob)}')

    def test_killed_behind_the_sync(self):
        """The file is read-only already, and its commit has not come: the session goes on."""
        blob = os.urandom(1 << 20)
        with self.daemon() as orlop:
            with Registry(orlop) as registry:
                place = registry.begin_upload('a')
                self.assertEqual(registry.request('PATCH', place, (), blob[:1 << 19]).status, 202)
            orlop.kill()
            [upload] = (orlop.data / 'uploads').iterdir()
            upload.chmod(0o444)
            orlop.start()
            self.go_on(orlop, place, blob, 1 << 19)

    def test_killed_before_the_rename(self):
        """The commit has come, and the file has its upload's name yet: it is moved to its place."""
        blob = os.urandom(1 << 20)
        with self.daemon() as orlop:
            with Registry(orlop) as registry:
                digest = registry.push_blob('a', blob)
            orlop.kill()
            [placed] = (path for path in (orlop.data / 'blobs').rglob('*') if path.is_file())
            placed.rename(orlop.data / 'uploads' / placed.name.rpartition('.')[2])
            orlop.start()
            with Registry(orlop) as registry:
                self.assertEqual(registry.blob('a', digest).body, blob)
            self.assertEqual(placed.stat().st_mode & 0o777, 0o444)
            orlop.stop()
            check_store(orlop.data)

    def test_sessions_of_both_algorithms_go_on(self):
        for algorithm in ('sha256', 'sha512'):
            blob = os.urandom(300_007)
            with self.daemon() as orlop:
                with Registry(orlop) as registry:
                    place = registry.begin_upload('a', f'?digest-algorithm={algorithm}')
                for at in range(0, 300_000, 100_000):
                    with Registry(orlop) as registry:
                        self.assertEqual(received(registry.request('GET', place)), at)
                        self.assertEqual(registry.request('PATCH', place, (), blob[at:at + 100_000]).status, 202)
                    orlop.kill()
                    orlop.start()
                with Registry(orlop) as registry:
                    target = with_query(place, 'digest', digest_of(blob, algorithm))
                    self.assertEqual(registry.request('PUT', target, (), blob[300_000:]).status, 201)

    def test_all_that_was_acknowledged_survives(self):
        generator = random.Random(4)
        with self.daemon() as orlop:
            crowds = []
            for _ in range(ROUNDS):
                with Pushers(orlop, 8) as pushers:
                    time.sleep(generator.uniform(0.05, 1.0))
                    orlop.kill()
                crowds.append(pushers)
                orlop.start()
                pushers.verify(orlop)
            self.assertGreater(sum(len(pushers.manifests) for pushers in crowds), ROUNDS)
            for pushers in crowds[:-1]:
                # Tags were pushed again by later rounds; what has a digest stays.
                pushers.manifests = {key: data for key, data in pushers.manifests.items() if ':' in key[1]}
                pushers.verify(orlop)
            orlop.stop()
            check_store(orlop.data)

    def test_killed_while_it_starts(self):
        with self.daemon() as orlop:
            with Pushers(orlop, 4) as pushers:
                time.sleep(0.5)
                orlop.kill()
            for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.05):
                orlop.spawn()
                time.sleep(delay)
                orlop.kill()
            orlop.start()
            pushers.verify(orlop)
            orlop.stop()
            check_store(orlop.data)
