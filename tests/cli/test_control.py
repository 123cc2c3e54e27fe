"""The control socket under wrong, slow and many clients: none of them disturbs the daemon or another one; and the commands on a store
that runs, that has stopped, and that is not there."""
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from support.case import DaemonTest
from support.commands import ask, run_orlop
from support.control import connect, read_lines, request, send
from support.daemon import Daemon, binary
from support.registry import Registry, digest_of, expect

PLACES = 8                              # connections at once
REQUEST_MAX = 64 * 1024
ROWS = 600                              # an answer of which a socket's buffers hold a part
COMMANDS = (('status',), ('gc', '--now'), ('gc', '--dry-run'), ('du',), ('ls',), ('rm', 'x/*', '--dry-run'))


def read_terminal(terminal):
    """All that was written to its other end, which is closed: it comes in pieces."""
    text = b''
    try:
        while piece := os.read(terminal, 1 << 16):
            text += piece
    except OSError:                     # EIO: nobody writes any more
        pass
    return text.decode()


class ControlTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with Registry(cls.orlop) as registry:
            cls.image = registry.push_image('a/app', 'v1')
            for number in range(ROWS):
                blob = b'%d' % number
                expect(registry.request('POST', f'/v2/a/app/blobs/uploads/?digest={digest_of(blob)}', (), blob), 201)

    def assert_answers(self):
        """Both the registry and the next command, at once."""
        start = time.monotonic()
        self.assertEqual(self.orlop.request('GET', '/v2/a/app/tags/list').status, 200)
        self.assertEqual(self.orlop.request('GET', f'/v2/a/app/manifests/{digest_of(self.image)}').body, self.image)
        self.assertTrue(ask(self.orlop.data, 'status').one('daemon')['running'])
        self.assertLess(time.monotonic() - start, 5)

    def connect(self, timeout=60):
        sock = connect(self.orlop.data, timeout)
        self.addCleanup(sock.close)
        return sock

    def error_of(self, line):
        """How the daemon ends an answer that is an error."""
        answer = send(self.orlop.data, line)
        self.assertEqual([line['kind'] for line in answer], ['error'])
        return answer[0]

    def test_it_is_the_owners_alone(self):
        path = self.orlop.data / 'control.sock'
        status = path.stat()
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual((stat.S_IMODE(status.st_mode), status.st_uid), (0o600, os.geteuid()))

    @unittest.skipUnless(os.geteuid() == 0, 'becoming another user needs root')
    def test_another_user_is_not_answered_even_where_the_mode_was_changed(self):
        path, folders = self.orlop.data / 'control.sock', [self.orlop.data, *self.orlop.data.parents][:2]
        code = ("import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
                " s.connect(sys.argv[1]); s.settimeout(20); s.sendall(b'{\"operation\":\"status\",\"words\":[]}\\n'); print(s.recv(100))")
        modes = {place: stat.S_IMODE(place.stat().st_mode) for place in (path, *folders)}
        run = subprocess.run(['python3', '-c', code, str(path)], capture_output=True, text=True)
        self.assertIn('PermissionError', run.stderr)
        try:
            for place in modes:
                place.chmod(0o777)
            run = subprocess.run(['python3', '-c', code, str(path)], capture_output=True, text=True)
        finally:
            for place, mode in modes.items():
                place.chmod(mode)
        self.assertTrue(run.stdout == "b''\n" or 'ConnectionResetError' in run.stderr or 'BrokenPipeError' in run.stderr, run)

    def test_garbage(self):
        for line in (b'\n', b'garbage\n', b'\0\xff\xfe\n', b'[]\n', b'{}\n', b'null\n', b'"status"\n', b'{"operation":7}\n',
                     b'{"operation":"ls","words":[1]}\n', b'{"operation":"ls","words":["\\u0000"]}\n', b'GET / HTTP/1.1\n',
                     b'{"operation":"rm","words":["A B"]}x\n', b'[' * 60_000 + b'\n', b'{"a":' * 12_000 + b'\n',
                     request('rm'), request('rm', [''], dry_run=True), request('rm', ['a:'], dry_run=True), request('du', ['a'])):
            error = self.error_of(line)
            self.assertTrue(error['message'] and error['invalid'], (line[:40], error))
        self.assert_answers()

    def test_an_operation_that_is_not_known(self):
        error = self.error_of(request('explode'))
        self.assertIn('knows no operation "explode"', error['message'])
        self.assertTrue(error['invalid'])

    def test_too_much(self):
        error = self.error_of(request('rm', ['x'] * 65))
        self.assertIn('too many words', error['message'])
        error = self.error_of(b'x' * (REQUEST_MAX + 10_000))
        self.assertIn('too long', error['message'])
        self.assertEqual(send(self.orlop.data, request('status') + b'x' * 10_000_000)[-1]['kind'], 'end')
        run = run_orlop('rm', '--dry-run', '--data', self.orlop.data, *['x' * 2000] * 60)
        self.assertEqual((run.returncode, run.stdout), (2, ''))
        self.assertIn('too many words', run.stderr)
        self.assert_answers()

    def test_half_lines_and_silence(self):
        """Who sends no whole line loses the connection in time, however slowly the bytes drip."""
        silent, half, drips, closed = (self.connect() for _ in range(4))
        half.sendall(request('status')[:-5])
        closed.sendall(b'{"operation"')
        closed.shutdown(socket.SHUT_WR)
        self.assertEqual(closed.recv(1000)[:16], b'{"kind":"error",')
        start = time.monotonic()
        while time.monotonic() - start < 9:
            drips.sendall(b' ')
            self.assert_answers()
            time.sleep(0.5)
        for sock in (silent, half, drips):
            [error] = read_lines(sock)
            self.assertIn('in time', error['message'])
        self.assertLess(time.monotonic() - start, 15)

    def test_readers_that_do_not_read(self):
        """An answer is made at once and waits for its reader; what it was made of is not held for it meanwhile."""
        slow = [self.connect() for _ in range(PLACES - 1)]
        for sock, operation in zip(slow, [request('gc', dry_run=True)] * 4 + [request('ls', ['a/app'])] * 3):
            sock.sendall(operation)
        time.sleep(0.2)
        self.assert_answers()
        for sock in slow[:4]:
            lines = read_lines(sock)
            self.assertEqual([line['kind'] for line in lines], ['garbage'] * ROWS + ['total', 'end'])
            self.assertEqual(len({line.get('digest') for line in lines}), ROWS + 1)

    def test_readers_that_go(self):
        for receive in (0, 1, 1000):
            for _ in range(PLACES):
                with connect(self.orlop.data) as sock:
                    sock.sendall(request('gc', dry_run=True))
                    if receive:
                        sock.recv(receive)
            self.wait_for_a_place()
        self.assert_answers()

    def wait_for_a_place(self):
        """Threads of those who have gone take a moment to see it."""
        deadline = time.monotonic() + 20
        while send(self.orlop.data, request('status'))[-1:] != [{'kind': 'end', 'status': 0}]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_more_than_there_are_places_for(self):
        """They are told so; as soon as one goes there is a place again."""
        self.wait_for_a_place()
        held = [self.connect() for _ in range(PLACES)]
        time.sleep(0.1)
        [error] = read_lines(self.connect())
        self.assertEqual((error['kind'], error['invalid']), ('error', False))
        run = run_orlop('status', '--data', self.orlop.data)
        self.assertEqual(run.returncode, 1)
        self.assertIn('too many commands', run.stderr)
        self.assertEqual(self.orlop.request('GET', '/v2/a/app/tags/list').status, 200)
        held.pop().close()
        self.wait_for_a_place()
        crowd = [connect(self.orlop.data) for _ in range(100)]
        for sock in crowd + held:
            sock.close()
        self.wait_for_a_place()
        self.assert_answers()

    def test_many_commands_at_once(self):
        """Two of each, with pushes beside them: each has its own answer."""
        runs, threads = [], []

        def run(arguments):
            for _ in range(3):
                runs.append((arguments, run_orlop(*arguments, '--json', '--data', self.orlop.data)))

        for arguments in COMMANDS[1:4] * 2:
            threads.append(threading.Thread(target=run, args=(arguments,)))
        for thread in threads:
            thread.start()
        for number in range(20):
            self.registry.push_image('b/app', f't{number}', layers=(os.urandom(9000),))
        for thread in threads:
            thread.join()
        self.assertEqual(len(runs), 18)
        for arguments, run in runs:
            self.assertEqual((run.returncode, run.stderr), (0, ''), arguments)
            lines = [json.loads(line) for line in run.stdout.splitlines()]
            self.assertEqual(lines[-1]['kind'], 'total', arguments)
        self.assertGreaterEqual(len(self.registry.tags('b/app').json()['tags']), 20)

    def test_status(self):
        status = ask(self.orlop.data, 'status')
        daemon, store = status.one('daemon'), status.one('store')
        self.assertEqual(daemon['pid'], self.orlop.process.pid)
        self.assertGreater(daemon['requests'], ROWS)
        self.assertGreaterEqual(daemon['connections_total'], daemon['connections'])
        self.assertTrue(0 <= daemon['uptime_s'] < 600 and daemon['memory'] > 1 << 20 and daemon['bytes_in'] > 0, daemon)
        self.assertGreaterEqual(store['waiting_blobs']['count'], ROWS)
        self.assertGreater(store['disk_free'], 0)
        text = run_orlop('status', '--data', self.orlop.data).stdout
        for word in (f'process {self.orlop.process.pid}', 'requests', 'connections', 'memory', 'blobs to review', 'files to remove', 'uploads',
                     'freed since start', 'scrub', 'disk'):
            self.assertIn(word, text)


class LifeTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-control-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.folder / 'data'

    def start(self):
        orlop = Daemon(data=self.data).start()
        self.addCleanup(orlop.clean)
        return orlop

    def test_a_stopped_store(self):
        """The same commands; the socket has gone with the daemon, and a killed daemon's socket is in nobody's way."""
        orlop = self.start()
        with Registry(orlop) as registry:
            registry.push_image('x/app', 'v1')
        running = {command: ask(self.data, *command) for command in COMMANDS[3:]}
        orlop.stop()
        self.assertFalse((self.data / 'control.sock').exists())
        for command in COMMANDS:
            answer = ask(self.data, *command)
            if command in running:
                self.assertEqual(answer.lines, running[command].lines, command)
        self.assertFalse(ask(self.data, 'status').one('daemon')['running'])
        self.assertIn('does not run', run_orlop('status', '--data', self.data).stdout)
        orlop = self.start()
        orlop.kill()
        self.assertTrue((self.data / 'control.sock').exists())
        for command in COMMANDS:
            ask(self.data, *command)
        orlop = self.start()
        self.assertTrue(ask(self.data, 'status').one('daemon')['running'])
        orlop.stop()

    def test_no_store(self):
        for command in COMMANDS:
            run = run_orlop(*command, '--data', self.data)
            self.assertEqual((run.returncode, run.stdout.count('\n') > 1), (1, False), command)
            self.assertIn('no store in', run.stderr)
            self.assertFalse(self.data.exists())

    def test_two_on_a_stopped_store(self):
        """One opens it, the other is told; neither harms it, and the daemon starts when both have ended."""
        orlop = self.start()
        with Registry(orlop) as registry:
            for number in range(200):
                registry.push_image('x/app', f't{number}', layers=(b'%d' % number,))
        orlop.stop()
        runs = [subprocess.Popen([binary(), 'check', '--bytes', '--json', '--data', self.data, '--listen', '127.0.0.1:0'],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
        runs += [subprocess.Popen([binary(), 'du', '--json', '--data', self.data], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                 for _ in range(3)]
        for run in runs:
            output, errors = run.communicate(timeout=60)
            if run.returncode:
                self.assertRegex(output + errors, 'another orlop uses the folder|runs')
            else:
                self.assertEqual(json.loads(output.splitlines()[-1])['kind'], 'total')
        self.assertIn(0, [run.returncode for run in runs])
        orlop = self.start()
        self.assertEqual(orlop.request('GET', '/v2/x/app/tags/list').status, 200)

    def test_a_folder_with_a_long_name(self):
        """Longer than a socket's address may be."""
        self.data = self.folder / ('d' * 150) / 'data'
        self.data.parent.mkdir()
        self.start()
        self.assertTrue(ask(self.data, 'status').one('daemon')['running'])

    def test_the_daemon_ends_in_the_middle(self):
        """It does not wait for who does not read, and the command says what happened."""
        orlop = self.start()
        with Registry(orlop) as registry:
            for number in range(ROWS):
                blob = b'%d' % number
                expect(registry.request('POST', f'/v2/a/app/blobs/uploads/?digest={digest_of(blob)}', (), blob), 201)
        with connect(self.data) as slow, connect(self.data) as silent:
            slow.sendall(request('gc', dry_run=True))
            time.sleep(0.2)
            start = time.monotonic()
            orlop.stop()
            self.assertLess(time.monotonic() - start, 5)
            self.assertIsNotNone(silent)

    def test_progress_is_for_terminals_and_lines_for_scripts(self):
        """On a terminal standard error has the progress; what is printed is the same."""
        orlop = self.start()
        with Registry(orlop) as registry:
            registry.push_image('x/app', 'v1')
        plain = run_orlop('check', '--json', '--data', self.data, '--listen', '127.0.0.1:0')
        terminal, end = os.openpty()
        run = subprocess.run([binary(), 'check', '--json', '--data', self.data, '--listen', '127.0.0.1:0'], stdout=subprocess.PIPE,
                             stderr=end, text=True, timeout=60)
        os.close(end)
        shown = read_terminal(terminal)
        os.close(terminal)
        self.assertEqual((run.returncode, run.stdout), (0, plain.stdout))
        self.assertRegex(shown, r'\r(database|blobs|files|manifests)')
        self.assertNotRegex(plain.stderr, re.compile('\r'))


if __name__ == '__main__':
    unittest.main()
