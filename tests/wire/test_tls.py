"""TLS: the versions, the certificate and its names, session resumption, plain HTTP on the TLS port, broken handshakes, certificates
of the user's own and their change while it runs. The client is OpenSSL, through Python's ssl and the openssl command."""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from support.case import DaemonTest
from support.daemon import Daemon, StartFailed
from support.registry import Registry, digest_of, with_query
from support.wire import Connection


def make_certificate(folder, name, key_type='ec'):
    """A certificate that signs itself: (certificate, key)."""
    cert, key = Path(folder, f'{name}.crt'), Path(folder, f'{name}.key')
    algorithm = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] if key_type == 'ec' else ['-newkey', 'rsa:2048']
    subprocess.run(['openssl', 'req', '-x509', *algorithm, '-noenc', '-keyout', key, '-out', cert, '-days', '2',
                    '-subj', f'/CN={name}', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'], check=True, capture_output=True)
    return cert, key


class TlsTest(DaemonTest):
    tls = True
    flags = ('--name', 'registry.example', '--name', '192.0.2.7', '--head-timeout', '2s')

    def context(self, **attributes):
        context = self.orlop.tls_context()
        for name, value in attributes.items():
            setattr(context, name, value)
        return context

    def test_versions(self):
        for version, text in ((ssl.TLSVersion.TLSv1_2, 'TLSv1.2'), (ssl.TLSVersion.TLSv1_3, 'TLSv1.3')):
            connection = self.connect(tls=self.context(minimum_version=version, maximum_version=version))
            self.assertEqual(connection.sock.version(), text)
            self.assertEqual(connection.request('GET', '/v2/').status, 200)

    def test_old_versions_are_refused(self):
        context = self.context()
        context.set_ciphers('ALL:@SECLEVEL=0')
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            self.connect(tls=context)
        self.assert_alive()

    def test_alpn(self):
        context = self.context()
        context.set_alpn_protocols(['h2', 'http/1.1'])
        self.assertEqual(self.connect(tls=context).sock.selected_alpn_protocol(), 'http/1.1')
        connection = self.connect(tls=ssl.create_default_context(cafile=str(self.orlop.authority)))
        self.assertEqual(connection.request('GET', '/v2/').status, 200)         # without ALPN

    def test_names_of_the_certificate(self):
        names = self.connect().sock.getpeercert()['subjectAltName']
        dns = {value for kind, value in names if kind == 'DNS'}
        addresses = {value for kind, value in names if kind == 'IP Address'}
        self.assertLessEqual({'localhost', 'registry.example', socket.gethostname()}, dns)
        self.assertLessEqual({'127.0.0.1', '192.0.2.7'}, addresses)

    def test_a_stranger_does_not_trust_it(self):
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.connect(tls=ssl.create_default_context())
        self.assert_alive()

    def test_the_authority_is_served(self):
        answer = self.orlop.request('GET', '/ca.crt')
        self.assertEqual((answer.status, answer.body), (200, self.orlop.authority.read_bytes()))

    def test_files_of_the_keys_are_private(self):
        for path in self.orlop.data.glob('tls/*.key'):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)

    def test_resumption(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(minimum_version=version, maximum_version=version)
            first = self.connect(tls=context)
            first.request('GET', '/v2/')                # with TLS 1.3 the tickets come beside the answer
            session = first.sock.session
            first.close()
            sock = socket.create_connection((self.orlop.address, self.orlop.port), timeout=10)
            second = Connection(context.wrap_socket(sock, server_hostname=self.orlop.address, session=session), self.orlop.host)
            self.addCleanup(second.close)
            self.assertEqual(second.request('GET', '/v2/').status, 200)
            self.assertTrue(second.sock.session_reused, version)

    def plain(self):
        sock = socket.create_connection((self.orlop.address, self.orlop.port), timeout=10)
        connection = Connection(sock, self.orlop.host)
        self.addCleanup(connection.close)
        return connection

    def test_plain_http_is_told_in_words(self):
        for method in ('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'):
            connection = self.plain()
            connection.send(connection.head(method, '/v2/'))
            answer = connection.response(method)
            self.assertEqual(answer.status, 400, method)
            text = answer.body or connection.rest()     # the request is not read, so HEAD is answered like all others
            self.assertRegex(text.decode(), 'https://')
            self.assertTrue(connection.is_closed())

    def test_garbage_instead_of_a_handshake(self):
        for data in (b'\0' * 100, b'\x16\x03\x01\xff\xff' + b'x' * 1000, b'\x16', b'SSH-2.0-x\r\n', b'\x80\x2e\x01\x00\x02'):
            connection = self.plain()
            connection.send(data)
            connection.half_close()
            connection.rest()
        self.assert_alive()

    def test_a_handshake_that_stops_is_closed(self):
        silent, begun = self.plain(), self.plain()
        begun.send(b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03')
        start = time.monotonic()
        for connection in (silent, begun):
            connection.rest()
        self.assertLess(time.monotonic() - start, 8)

    def test_failed_handshakes_do_not_disturb_others(self):
        """A transfer goes on while many handshakes fail; each failure costs one line at info at most."""
        blob = bytes(range(256)) * 40000
        digest = self.registry.push_blob(self.repository, blob)
        stop = threading.Event()

        def breaker():
            for _ in range(500):
                if stop.is_set():
                    return
                with socket.create_connection((self.orlop.address, self.orlop.port)) as sock:
                    sock.sendall(b'\x16\x03\x01\x00\x05hello')
        threads = [threading.Thread(target=breaker) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                self.assertEqual(self.registry.blob(self.repository, digest).body, blob)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_a_large_body_both_ways_in_small_records(self):
        blob = os.urandom(3 << 20)
        place = self.registry.begin_upload(self.repository)
        connection = self.connect()
        connection.send(connection.head('PUT', with_query(place, 'digest', digest_of(blob)), [('Content-Length', len(blob))]))
        for i in range(0, len(blob), 1000):
            connection.send(blob[i:i + 1000])
        self.assertEqual(connection.response().status, 201)
        self.assertEqual(connection.request('GET', f'/v2/{self.repository}/blobs/{digest_of(blob)}').body, blob)

    def test_a_request_in_records_of_one_byte(self):
        connection = self.connect()
        for byte in connection.head('GET', '/v2/'):
            connection.send(bytes([byte]))
        self.assertEqual(connection.response().status, 200)

    def test_an_end_of_tls_is_an_end(self):
        """close_notify behind the request: the answer comes, then the connection ends (RFC 8446, section 6.1)."""
        run = subprocess.run(['openssl', 's_client', '-quiet', '-no_ign_eof', '-CAfile', self.orlop.authority,
                              '-verify_return_error', '-connect', self.orlop.host],
                             input=b'GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', capture_output=True, timeout=20)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assert_alive()

    def test_curl_with_the_authority(self):
        for name in ('localhost', '127.0.0.1'):
            run = subprocess.run(['curl', '-sS', '--cacert', self.orlop.authority, f'https://{name}:{self.orlop.port}/v2/'],
                                 capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stdout.strip()), (0, '{}'), run.stderr)


class OwnCertificateTest(unittest.TestCase):
    """--tls files, and certificates that change while the registry runs."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def subject(self, orlop):
        with orlop.connect(tls=ssl._create_unverified_context()) as connection:
            der = connection.sock.getpeercert(binary_form=True)
        run = subprocess.run(['openssl', 'x509', '-inform', 'der', '-noout', '-subject'], input=der, capture_output=True, check=True)
        return run.stdout.decode().strip().rpartition('=')[2].strip()

    def test_ecdsa_and_rsa(self):
        for kind in ('ec', 'rsa'):
            with Daemon(certificate=make_certificate(self.folder, kind, kind)) as orlop:
                self.assertEqual(orlop.request('GET', '/v2/').status, 200)
                self.assertEqual(self.subject(orlop), kind)
                self.assertEqual(orlop.request('GET', '/ca.crt').status, 404)

    def replace(self, certificate, other):
        """As a program that renews certificates does it: a new file takes the old one's name."""
        for old, new in zip(certificate, other):
            copy = old.with_suffix('.new')
            shutil.copy(new, copy)
            copy.rename(old)

    def test_a_changed_file_is_loaded_again(self):
        certificate = make_certificate(self.folder, 'first')
        with Daemon(certificate=certificate) as orlop:
            old = Registry(orlop)
            self.assertEqual(old.request('GET', '/v2/').status, 200)
            self.replace(certificate, make_certificate(self.folder, 'second'))
            orlop.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while self.subject(orlop) != 'second' and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertEqual(self.subject(orlop), 'second')
            connection = old.connection
            self.assertEqual(old.request('GET', '/v2/').status, 200)
            self.assertIs(old.connection, connection)
            old.close()

    def test_a_broken_file_leaves_the_certificate_in_use(self):
        certificate = make_certificate(self.folder, 'first')
        with Daemon(certificate=certificate) as orlop:
            certificate[0].write_text('no certificate')
            orlop.process.send_signal(signal.SIGHUP)
            orlop.wait_log(r'first\.crt')
            self.assertEqual(self.subject(orlop), 'first')

    def test_a_key_of_another_certificate_does_not_start(self):
        certificate, _ = make_certificate(self.folder, 'first')
        _, key = make_certificate(self.folder, 'second')
        with self.assertRaisesRegex(StartFailed, r'(?i)key|belong|match'):
            Daemon(certificate=(certificate, key)).start()


class RestartTest(unittest.TestCase):
    def test_authority_and_certificate_stay(self):
        with Daemon(tls=True) as orlop:
            authority = orlop.authority.read_bytes()
            certificate = (orlop.data / 'tls' / 'server.crt').read_bytes()
            orlop.restart()
            self.assertEqual(orlop.authority.read_bytes(), authority)
            self.assertEqual((orlop.data / 'tls' / 'server.crt').read_bytes(), certificate)

    def test_a_new_name_makes_a_new_certificate_under_the_same_authority(self):
        with Daemon(tls=True) as orlop:
            authority = orlop.authority.read_bytes()
            orlop.flags = ('--name', 'new.example')
            orlop.restart()
            self.assertEqual(orlop.authority.read_bytes(), authority)
            with orlop.connect() as connection:
                self.assertIn(('DNS', 'new.example'), connection.sock.getpeercert()['subjectAltName'])


class SlowTlsReaderTest(DaemonTest):
    """What a client took while the socket was full all the time counts, too."""
    tls = True
    flags = ('--body-rate', '1KiB/s', '--body-rate-window', '3s')

    def test_a_slow_reader_gets_all(self):
        blob = os.urandom(1 << 20) * 8
        digest = self.registry.push_blob(self.repository, blob)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        raw.connect((self.orlop.address, self.orlop.port))
        sock = self.orlop.tls_context().wrap_socket(raw, server_hostname=self.orlop.address)
        self.addCleanup(sock.close)
        sock.settimeout(20)
        sock.sendall(self.connect().head('GET', f'/v2/{self.repository}/blobs/{digest}'))
        received, start = 0, time.monotonic()
        while time.monotonic() - start < 8:
            received += len(sock.recv(4096))            # 20 KB/s
            time.sleep(0.2)
        while data := sock.recv(1 << 20):
            received += len(data)
            if received >= len(blob):
                break
        self.assertGreaterEqual(received, len(blob))


class LargePullsTest(DaemonTest):
    """Threads of their own send large files over TLS, and have the connection while they do."""
    tls = True
    flags = ('--stop-timeout', '1s')

    def setUp(self):
        super().setUp()
        self.blob = os.urandom(1 << 20) * 12 + b'end'
        self.path = f'/v2/{self.repository}/blobs/{self.registry.push_blob(self.repository, self.blob)}'

    def begin_pull(self, headers=()):
        connection = self.connect()
        connection.send(connection.head('GET', self.path, headers))
        return connection

    def break_off(self):
        for _ in range(10):
            connection = self.begin_pull()
            connection.sock.recv(16384)
            connection.sock.close()

    def test_pulls_beside_others_that_break_off(self):
        pulls = [self.begin_pull() for _ in range(8)]
        breaking = threading.Thread(target=self.break_off)
        breaking.start()
        for connection in pulls:
            self.assertEqual(connection.response().body, self.blob)
        breaking.join()

    def test_one_connection_asks_for_parts_and_all(self):
        connection, parts = self.connect(), ('bytes=5-', 'bytes=0-1048575', 'bytes=-3', 'bytes=300000-1000000')
        for part in parts * 2:
            first, last = part[6:].split('-')
            want = self.blob[-int(last):] if not first else self.blob[int(first):int(last) + 1 if last else None]
            self.assertEqual(connection.request('GET', self.path, [('Range', part)]).body, want)
        response = connection.request('GET', self.path, [('Range', 'bytes=7-2000006,4000000-4000009,5000000-7999999')])
        for first, last in ((7, 2000006), (4000000, 4000009), (5000000, 7999999)):
            self.assertIn(self.blob[first:last + 1], response.body)

    def test_who_does_not_read_does_not_hold_up_the_end(self):
        pulls = [self.begin_pull() for _ in range(6)]
        time.sleep(0.3)
        self.orlop.stop()               # and checks that it ended well
        self.orlop.start()
        for connection in pulls:
            connection.sock.close()
