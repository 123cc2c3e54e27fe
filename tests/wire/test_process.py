"""The daemon as a process: start and what it says, addresses, one instance on a data folder, SIGHUP, SIGTERM, systemd, the log that
nobody can forge, read-only and no-delete."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from support.daemon import Daemon, StartFailed, binary
from support.registry import OCI_INDEX, Registry, digest_of, index, with_query
from support.wire import Connection


class StartTest(unittest.TestCase):
    def test_what_it_says_is_what_a_reader_needs(self):
        with Daemon(tls=True) as orlop:
            text = orlop.log()
            self.assertIn(f'127.0.0.1:{orlop.port}', text)
            self.assertRegex(text, r'(?:[0-9A-F]{2}:){31}[0-9A-F]{2}')
            self.assertIn('docker push', text)
            with orlop.connect() as connection:
                der = connection.sock.getpeercert(binary_form=True)
            run = subprocess.run(['openssl', 'x509', '-inform', 'der', '-noout', '-fingerprint', '-sha256'], input=der,
                                 capture_output=True, check=True)
            self.assertIn(run.stdout.decode().strip().partition('=')[2], text)

    def test_a_second_instance_is_refused(self):
        with Daemon() as orlop:
            with self.assertRaisesRegex(StartFailed, re.escape(str(orlop.data))):
                Daemon(data=orlop.data).start()
            self.assertEqual(orlop.request('GET', '/readyz').status, 200)

    def test_a_port_in_use_is_named(self):
        with socket.socket() as other:
            other.bind(('127.0.0.1', 0))
            other.listen()
            address = f'127.0.0.1:{other.getsockname()[1]}'
            with tempfile.TemporaryDirectory() as folder:
                run = subprocess.run([binary(), 'serve', '--tls', 'off', '--data', folder, '--listen', address], timeout=60,
                                     capture_output=True, text=True)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn(address, run.stderr)
        self.assertIn('in use', run.stderr)

    def test_several_addresses_and_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f'{folder}/socket'
            with Daemon('--listen', f'unix:{path}') as orlop:
                for _ in range(2):
                    with socket.socket(socket.AF_UNIX) as sock:
                        sock.connect(path)
                        connection = Connection(sock, 'localhost')
                        self.assertEqual(connection.request('GET', '/v2/').status, 200)
                self.assertEqual(orlop.request('GET', '/v2/').status, 200)
                orlop.kill()
                orlop.start()                           # the socket that was left is no hindrance
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(path)
                    self.assertEqual(Connection(sock, 'localhost').request('GET', '/v2/').status, 200)

    def test_ipv6(self):
        with Daemon(address='::1') as orlop:
            self.assertEqual(orlop.request('GET', '/v2/').status, 200)

    def test_a_data_folder_that_cannot_be_made_is_named(self):
        with self.assertRaisesRegex(StartFailed, '/proc/nothing'):
            Daemon(data='/proc/nothing/data').start()

    def test_socket_activation(self):
        """systemd's protocol: descriptors from 3 on, LISTEN_PID the process's own id; and READY=1 (sd_listen_fds(3), sd_notify(3))."""
        with tempfile.TemporaryDirectory() as folder, socket.socket() as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            listener.bind(('127.0.0.1', 0))
            listener.listen(16)
            notify.bind(f'{folder}/notify')
            notify.settimeout(30)
            script = 'exec 3<&"$0"; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
            process = subprocess.Popen(['bash', '-c', script, str(listener.fileno()), binary(), 'serve', '--tls', 'off',
                                        '--data', f'{folder}/data'], pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, env={**os.environ, 'NOTIFY_SOCKET': f'{folder}/notify'})
            try:
                message = notify.recv(4096).decode()
                while 'READY=1' not in message:
                    message = notify.recv(4096).decode()
                with socket.create_connection(listener.getsockname()) as sock:
                    self.assertEqual(Connection(sock, 'localhost').request('GET', '/v2/').status, 200)
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(30), 0)
            finally:
                process.kill()
                process.wait()


class ReloadTest(unittest.TestCase):
    def test_a_reload_drops_no_connection_and_applies_settings(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, 'orlop.conf')
            config.write_text('[limits]\nmax-manifest = 4KiB\n')
            with Daemon('--config', str(config)) as orlop, Registry(orlop) as registry:
                big = b'{"x":"' + b'y' * 8000 + b'"}'
                self.assertEqual(registry.request('PUT', '/v2/a/manifests/one', (), big).status, 413)
                idle, busy = orlop.connect(), orlop.connect()
                self.assertEqual(idle.request('GET', '/v2/').status, 200)
                with Registry(orlop) as other:
                    place = other.begin_upload('a')
                blob = b'x' * 1000
                busy.send(busy.head('PUT', with_query(place, 'digest', digest_of(blob)), [('Content-Length', 1000)]) + blob[:500])
                config.write_text('[limits]\nmax-manifest = 64KiB\n')
                orlop.process.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + 10
                while True:
                    with Registry(orlop) as other:
                        status = other.request('PUT', '/v2/a/manifests/one', (), big).status
                    if status != 413 or time.monotonic() > deadline:
                        break
                    time.sleep(0.05)
                self.assertEqual(status, 400)           # read now, and found to be no manifest
                self.assertEqual(idle.request('GET', '/v2/').status, 200)
                busy.send(blob[500:])
                self.assertEqual(busy.response().status, 201)
                idle.close()
                busy.close()

    def test_a_reload_with_an_error_changes_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, 'orlop.conf')
            config.write_text('[limits]\nmax-manifest = 4KiB\n')
            with Daemon('--config', str(config)) as orlop:
                config.write_text('[limits]\nmax-manifest = lots\n')
                orlop.process.send_signal(signal.SIGHUP)
                orlop.wait_log(r'max-manifest')
                self.assertEqual(orlop.request('GET', '/v2/').status, 200)

    def test_many_reloads_under_load(self):
        with Daemon(tls=True) as orlop, Registry(orlop) as registry:
            digest = registry.push_blob('a', os.urandom(100_000))
            for _ in range(50):
                orlop.process.send_signal(signal.SIGHUP)
                self.assertEqual(registry.blob('a', digest).status, 200)


class StopTest(unittest.TestCase):
    def test_running_transfers_finish(self):
        """SIGTERM: no new connections, but the push and the pull that run end well; exit code 0."""
        with Daemon() as orlop:
            with Registry(orlop) as registry:
                blob = os.urandom(32 << 20)
                digest = registry.push_blob('a', blob)
                place = registry.begin_upload('a')
            pull, push, idle = orlop.connect(), orlop.connect(), orlop.connect()
            idle.request('GET', '/v2/')
            pull.send(pull.head('GET', f'/v2/a/blobs/{digest}'))
            body = b'y' * 100_000
            push.send(push.head('PUT', with_query(place, 'digest', digest_of(body)), [('Content-Length', len(body))]) + body[:1000])
            time.sleep(0.2)
            orlop.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with self.assertRaises(OSError):
                socket.create_connection((orlop.address, orlop.port), timeout=5)
            self.assertTrue(idle.is_closed())
            self.assertIsNone(orlop.process.poll())
            push.send(body[1000:])
            answer = push.response()
            self.assertEqual((answer.status, answer['Connection'].lower()), (201, 'close'))
            self.assertEqual(pull.response().body, blob)
            self.assertEqual(orlop.process.wait(10), 0)
            for connection in (pull, push, idle):
                connection.close()
            orlop.start()
            self.assertEqual(orlop.request('HEAD', f'/v2/a/blobs/{digest_of(body)}').status, 200)

    def test_transfers_that_take_too_long_are_ended(self):
        with Daemon('--stop-timeout', '1s') as orlop:
            with Registry(orlop) as registry:
                place = registry.begin_upload('a')
            connection = orlop.connect()
            connection.send(connection.head('PATCH', place, [('Content-Length', 1000)]) + b'x' * 10)
            time.sleep(0.2)
            start = time.monotonic()
            self.assertEqual(orlop.stop(), 0)
            self.assertLess(time.monotonic() - start, 10)
            connection.close()
            orlop.start()                               # what came is kept
            self.assertEqual(orlop.request('GET', place)['Range'], '0-9')

    def test_sigint_stops_too(self):
        with Daemon() as orlop:
            orlop.process.send_signal(signal.SIGINT)
            self.assertEqual(orlop.process.wait(20), 0)

    def test_a_stop_right_after_the_start(self):
        for _ in range(5):
            with Daemon():
                pass


class LogTest(unittest.TestCase):
    def lines(self, orlop, count):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            lines = [line for line in orlop.log().split('\n') if '/forged-' in line]
            if len(lines) >= count:
                break
            time.sleep(0.02)
        return lines

    def forge(self, orlop):
        """Requests that try to end a line of the log and write another; the number of those that have a path of ours."""
        attacks = [
            ('/forged-1', 'Mozilla"}\\n{"x":"'), ('/forged-2%0a2026-01-01T00:00:00Z%20error%20owned', 'x'),
            ('/forged-3%0d%0aowned', 'x'), ('/forged-4%1b[2Jowned', '\x9b2J\x85owned\xe2\x80\xa8owned'), ('/forged-5"', 'a"b'),
            ('/forged-6\\', '\\'), ('/forged-7', 'owned\towned'), ('/forged-8', 'x' * 20000),
        ]
        for target, agent in attacks:
            with orlop.connect() as connection:
                connection.send(connection.head('GET', target, [('User-Agent', agent)]))
                connection.response()
        for data in (b'GET /forged-bad\n2026 owned HTTP/1.1\r\nHost: a\r\n\r\n', b'GET /v2/ HTTP/1.1\r\nHost: a\r\nUser-Agent: a\nowned\r\n\r\n'):
            with orlop.connect() as connection:
                connection.send(data)
                connection.response()
        return len(attacks)

    def test_text(self):
        with Daemon() as orlop:
            count = self.forge(orlop)
            self.assertEqual(len(self.lines(orlop, count)), count, orlop.log())
            for line in orlop.log().split('\n'):
                self.assertNotRegex(line, r'^(\d{4}-\S+ error )?owned')
                self.assertNotRegex(line, '[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]')

    def test_json(self):
        with Daemon('--log-format', 'json') as orlop:
            count = self.forge(orlop)
            self.assertEqual(len(self.lines(orlop, count)), count, orlop.log())
            started = False
            for line in filter(None, orlop.log().split('\n')):
                if line.startswith('{'):
                    started = True
                    json.loads(line)
                else:
                    self.assertFalse(started, f'not JSON: {line}')

    def test_what_a_request_got_over_is_no_error(self):
        """A mount that cannot be has a session instead; a manifest may be the first of its repository."""
        with Daemon() as orlop, Registry(orlop) as registry:
            begun = registry.request('POST', f'/v2/new/one/blobs/uploads/?mount={digest_of(b"none")}&from=new/two', [('Content-Length', 0)])
            data = index([], annotations={'large': 'x' * 10_000})   # a worker's
            pushed = registry.request('PUT', '/v2/new/three/manifests/1', [('Content-Type', OCI_INDEX)], data)
            self.assertEqual((begun.status, pushed.status), (202, 201))
            for answer in (begun, pushed):
                self.assertNotIn('error=', orlop.wait_log(rf'^.*{answer["X-Request-Id"]}.*$')[0])

    def test_a_line_a_request(self):
        """Method, path, status, bytes in and out, duration, address, agent, request id."""
        with Daemon('--log-format', 'json') as orlop:
            with Registry(orlop) as registry:
                answer = registry.request('GET', '/v2/?x=y', [('User-Agent', 'tester/1')])
            line = orlop.wait_log(rf'^.*{answer["X-Request-Id"]}.*$')[0]
            values = [str(value) for value in json.loads(line).values()]
            for value in ('GET', '200', 'tester/1', answer['X-Request-Id']):
                self.assertIn(value, values)
            self.assertTrue(any('/v2/' in value for value in values))
            self.assertTrue(any(value.startswith('127.0.0.1') for value in values))

    def test_levels(self):
        with Daemon('--log-level', 'error') as orlop:
            orlop.request('GET', '/nothing')
            orlop.stop()
            self.assertNotIn('/nothing', orlop.log())

    def test_trouble_of_clients_is_no_error(self):
        with Daemon() as orlop:
            for data in (b'nonsense\r\n\r\n', b'GET / HTTP/1.1\r\n\r\n', b'GET /none HTTP/1.1\r\nHost: a\r\n\r\n', b'\x16\x03\x01'):
                with orlop.connect() as connection:
                    connection.send(data)
                    connection.half_close()
                    connection.rest()
            orlop.stop()
            self.assertNotRegex(orlop.log(), r'(?i)^\S+ (error|warn)')


class PolicyTest(unittest.TestCase):
    def test_read_only(self):
        with Daemon() as orlop:
            with Registry(orlop) as registry:
                data = registry.push_image('a', 'one')
            orlop.flags = ('--read-only',)
            orlop.restart()
            with Registry(orlop) as registry:
                self.assertEqual(registry.manifest('a', 'one').body, data)
                for method, target in (('POST', '/v2/a/blobs/uploads/'), ('PUT', '/v2/a/manifests/two'),
                                       ('DELETE', '/v2/a/manifests/one'), ('DELETE', f'/v2/a/blobs/{digest_of(b"layer")}')):
                    answer = registry.request(method, target, (), b'')
                    self.assertEqual((answer.status, answer.error_code()), (405, 'UNSUPPORTED'), method)

    def test_no_delete(self):
        with Daemon('--no-delete') as orlop, Registry(orlop) as registry:
            registry.push_image('a', 'one')
            for target in ('/v2/a/manifests/one', f'/v2/a/blobs/{digest_of(b"layer")}'):
                answer = registry.request('DELETE', target)
                self.assertEqual((answer.status, answer.error_code()), (405, 'UNSUPPORTED'))
            self.assertEqual(registry.manifest('a', 'one').status, 200)
            place = registry.begin_upload('a')          # giving up an upload is no deletion
            self.assertEqual(registry.request('DELETE', place).status, 204)


class CommandTest(unittest.TestCase):
    def run_orlop(self, *arguments, **more):
        return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60, **more)

    def test_words_and_options_that_are_unknown_get_the_nearest(self):
        for arguments, nearest in ((('srve',), 'serve'), (('serve', '--dta', 'x'), '--data'), (('serve', '--lisen=x'), '--listen'),
                                   (('versoin',), 'version')):
            run = self.run_orlop(*arguments)
            self.assertEqual(run.returncode, 2, arguments)
            self.assertIn(nearest, run.stderr)
            self.assertEqual(run.stderr.strip().count('\n'), 0, run.stderr)

    def test_errors_in_the_file_are_named_with_their_line(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, 'orlop.conf')
            for text in ('[limits]\nmax-manifest = 1\n', '[limits]\nmax-manifesto = 4MiB\n', '[limits]\nmax-manifest\n'):
                config.write_text(text)
                run = self.run_orlop('serve', '--config', str(config), '--data', f'{folder}/data')
                self.assertNotEqual(run.returncode, 0)
                self.assertIn(f'{config}:2', run.stderr, text)

    def test_help_and_version(self):
        run = self.run_orlop('help', 'serve')
        self.assertEqual(run.returncode, 0)
        for name in ('data', 'listen', 'tls', 'tls-cert', 'tls-key', 'name', 'config', 'read-only', 'no-delete', 'log-level',
                     'log-format', 'loops', 'workers'):
            self.assertIn(f'--{name}', run.stdout)
        self.assertRegex(self.run_orlop('version').stdout, r'\d+\.\d+\.\d+')

    def test_settings_from_the_environment(self):
        with Daemon(env={'ORLOP_LOG_FORMAT': 'json'}) as orlop:
            orlop.request('GET', '/v2/')
            orlop.wait_log(r'^\{')


class ConcurrencyTest(unittest.TestCase):
    def test_many_idle_connections(self):
        """A thousand idle connections are no load, and each new request is served at once."""
        with Daemon() as orlop:
            connections = [orlop.connect() for _ in range(1000)]
            for connection in connections:
                connection.send(connection.head('GET', '/v2/'))
            for connection in connections:
                self.assertEqual(connection.response().status, 200)
            start = time.monotonic()
            self.assertEqual(orlop.request('GET', '/v2/').status, 200)
            self.assertLess(time.monotonic() - start, 2)
            for connection in connections:
                connection.close()

    def test_a_slow_push_stops_nobody(self):
        with Daemon('--workers', '2') as orlop:
            stuck = []
            for _ in range(20):
                with Registry(orlop) as registry:
                    place = registry.begin_upload('a')
                connection = orlop.connect()
                connection.send(connection.head('PATCH', place, [('Content-Length', 1 << 20)]) + b'x' * 10)
                stuck.append(connection)
            times = []
            for _ in range(20):
                start = time.monotonic()
                with Registry(orlop) as registry:
                    registry.push_blob('a', os.urandom(1000))
                times.append(time.monotonic() - start)
            self.assertLess(max(times), 5, times)
            for connection in stuck:
                connection.close()

    def test_the_same_session_used_twice_at_once(self):
        """Whatever order wins: no crash, and the session's own account of its bytes is true."""
        with Daemon() as orlop:
            with Registry(orlop) as registry:
                place = registry.begin_upload('a')
            statuses = []

            def patch():
                with orlop.connect() as connection:
                    statuses.append(connection.request('PATCH', place, [('Content-Range', '0-99999')], b'x' * 100_000).status)
            threads = [threading.Thread(target=patch) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(statuses.count(202), 1, statuses)
            self.assertLessEqual(set(statuses), {202, 409, 416}, statuses)
            with Registry(orlop) as registry:
                blob = b'x' * 100_000
                self.assertEqual(registry.request('PUT', with_query(place, 'digest', digest_of(blob)), (), b'').status, 201)
