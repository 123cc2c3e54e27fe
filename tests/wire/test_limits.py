"""Every limit of the HTTP engine has its answer, and the rest of the registry does not notice (times are set low by flags)."""
import json
import re
import socket
import threading
import time

from support.case import DaemonTest
from support.commands import run_orlop
from support.registry import OCI_INDEX, OCI_MANIFEST, descriptor, digest_of, index, with_query


class HeadLimitTest(DaemonTest):
    def status_of(self, data):
        with self.orlop.connect() as connection:
            try:
                connection.send(data)
            except OSError:                             # refused before its end came
                pass
            answer = connection.response()
            closed = connection.is_closed() if answer['Connection'] == 'close' else None
            return answer, closed

    def line(self, length):
        """A request line of this length, without its end."""
        return b'GET /' + b'a' * (length - len('GET / HTTP/1.1')) + b' HTTP/1.1'

    def test_request_line(self):
        self.assertEqual(self.status_of(self.line(8192) + b'\r\nHost: a\r\n\r\n')[0].status, 404)
        answer, closed = self.status_of(self.line(8193) + b'\r\nHost: a\r\n\r\n')
        self.assertEqual((answer.status, closed), (414, True))
        self.assertTrue(answer.message())

    def test_request_line_without_end(self):
        answer, closed = self.status_of(b'GET /' + b'a' * 100_000)
        self.assertEqual((answer.status, closed), (414, True))

    def test_head_bytes(self):
        def head(total):
            fixed = b'GET /v2/ HTTP/1.1\r\nHost: a\r\nX: '
            return fixed + b'y' * (total - len(fixed) - 4) + b'\r\n\r\n'
        self.assertEqual(self.status_of(head(32768))[0].status, 200)
        answer, closed = self.status_of(head(32769))
        self.assertEqual((answer.status, closed), (431, True))
        self.assertTrue(answer.message())

    def test_head_without_end(self):
        answer, closed = self.status_of(b'GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ' + b'y' * 200_000)
        self.assertEqual((answer.status, closed), (431, True))

    def test_fields(self):
        def head(count):
            return b'GET /v2/ HTTP/1.1\r\nHost: a\r\n' + b'X: y\r\n' * (count - 1) + b'\r\n'
        self.assertEqual(self.status_of(head(100))[0].status, 200)
        answer, closed = self.status_of(head(101))
        self.assertEqual((answer.status, closed), (431, True))


class BodyLimitTest(DaemonTest):
    flags = ('--max-manifest', '64KiB', '--max-upload', '1MiB')

    def manifest_of(self, size):
        """JSON of exactly this size; it need not be accepted as a manifest."""
        return b'{"x":"' + b'y' * (size - 8) + b'"}'

    def put(self, data, **more):
        return self.registry.request('PUT', f'/v2/{self.repository}/manifests/one', [('Content-Type', OCI_MANIFEST)], data, **more)

    def test_manifest(self):
        answer = self.put(self.manifest_of(65536))
        self.assertEqual((answer.status, answer.error_code()), (400, 'MANIFEST_INVALID'))
        answer = self.put(self.manifest_of(65537))
        self.assertEqual((answer.status, answer.error_code()), (413, 'SIZE_INVALID'))

    def test_manifest_that_tells_no_length(self):
        connection = self.connect()
        connection.send(connection.head('PUT', f'/v2/{self.repository}/manifests/one', [('Transfer-Encoding', 'chunked')]))
        try:
            for _ in range(100):
                connection.send(b'1000\r\n' + b'x' * 4096 + b'\r\n')
        except OSError:
            pass
        self.assertEqual(connection.response().status, 413)

    def test_manifest_is_refused_before_its_body(self):
        connection = self.connect()
        connection.send(connection.head('PUT', f'/v2/{self.repository}/manifests/one', [('Content-Length', 1 << 40)]))
        self.assertEqual(connection.response().status, 413)

    def test_upload_that_tells_its_length_is_refused_before_its_body(self):
        place = self.registry.begin_upload(self.repository)
        for method, target in (('PATCH', place), ('PUT', with_query(place, 'digest', digest_of(b'x'))),
                               ('POST', f'/v2/{self.repository}/blobs/uploads/?digest={digest_of(b"x")}')):
            connection = self.connect()
            connection.send(connection.head(method, target, [('Content-Length', (1 << 20) + 1)]))
            answer = connection.response()
            self.assertEqual((answer.status, answer.error_code()), (413, 'SIZE_INVALID'), method)

    def test_upload_that_tells_no_length(self):
        connection = self.connect()
        place = self.registry.begin_upload(self.repository)
        connection.send(connection.head('PATCH', place, [('Transfer-Encoding', 'chunked')]))
        try:
            for _ in range(40):
                connection.send(b'10000\r\n' + b'x' * 65536 + b'\r\n')
        except OSError:
            pass
        self.assertEqual(connection.response().status, 413)
        self.assert_alive()

    def test_upload_in_parts(self):
        """The limit is the blob's, not one request's."""
        place = self.registry.begin_upload(self.repository)
        self.assertEqual(self.registry.request('PATCH', place, body=b'x' * (1 << 20)).status, 202)
        self.assertEqual(self.registry.request('PATCH', place, body=b'x').status, 413)

    def test_the_largest_upload(self):
        self.registry.push_blob(self.repository, b'x' * (1 << 20))


class AnswerLimitTest(DaemonTest):
    """Large answers lie in memory until they are read: 128 MiB of all together, then they are refused. Smaller ones are not."""
    flags = ('--max-manifest', '8MiB')

    def push(self, tag, size):
        text = json.dumps({'schemaVersion': 2, 'mediaType': OCI_INDEX, 'manifests': [], 'annotations': {'a': 'x' * (size - 200)}})
        self.registry.push_manifest(self.repository, tag, text.encode(), OCI_INDEX)

    def answer_of(self, tag):
        return self.orlop.request('GET', f'/v2/{self.repository}/manifests/{tag}')

    def wait_for(self, status):
        for _ in range(100):
            answer = self.answer_of('large')
            if answer.status == status:
                return answer
            time.sleep(0.1)
        self.fail(f'no answer with {status}')

    def test_clients_that_do_not_read(self):
        self.push('large', 8 << 20)
        self.push('small', 300 << 10)
        slow = [self.connect() for _ in range(20)]
        for connection in slow:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.send(connection.head('GET', f'/v2/{self.repository}/manifests/large'))
        refused = self.wait_for(503)
        self.assertEqual(refused.error_code(), 'TOOMANYREQUESTS')
        self.assertTrue(refused['Retry-After'])
        self.assertIsNone(refused['Docker-Content-Digest'])
        self.assertEqual(self.answer_of('small').status, 200)
        for connection in slow:
            connection.close()
        self.wait_for(200)


class LargestManifestTest(DaemonTest):
    """What --max-manifest allows at most is not only accepted, it is served and listed."""
    @classmethod
    def setUpClass(cls):
        most = re.search(r'--max-manifest SIZE .* to ([^)]*)\)', run_orlop('help', 'serve').stdout)[1]
        cls.flags = ('--max-manifest', most)
        cls.bytes_max = int(most.removesuffix('MiB')) << 20
        super().setUpClass()

    def test_annotations_of_that_size(self):
        """A page of referrers has them once more: those of the manifest, and those in the tag that older clients keep."""
        subject = index([])
        self.registry.push_manifest(self.repository, 'subject', subject, OCI_INDEX)

        def referrer(n):
            return index([], subject=descriptor(OCI_INDEX, subject), annotations={'a': 'x' * n})
        data = referrer(self.bytes_max - len(referrer(0)))

        def listing(n):
            return index([descriptor(OCI_INDEX, data, annotations={'a': 'x' * n})])
        fallback = listing(self.bytes_max - len(listing(0)))
        self.assertEqual((len(data), len(fallback)), (self.bytes_max, self.bytes_max))
        self.registry.push_manifest(self.repository, 'large', data, OCI_INDEX)
        self.registry.push_manifest(self.repository, digest_of(subject).replace(':', '-'), fallback, OCI_INDEX)
        for reference in ('large', digest_of(data)):
            answer = self.registry.manifest(self.repository, reference)
            self.assertEqual((answer.status, answer.body == data), (200, True), reference)
        answer = self.registry.request('GET', f'/v2/{self.repository}/referrers/{digest_of(subject)}')
        self.assertEqual(answer.status, 200)
        self.assertEqual([entry['digest'] for entry in json.loads(answer.body)['manifests']], [digest_of(data)])
        run = run_orlop('ls', self.repository, '--data', self.orlop.data)
        self.assertEqual((run.returncode, 'large' in run.stdout), (0, True), run.stderr)


class TimeLimitTest(DaemonTest):
    flags = ('--head-timeout', '1s', '--idle-timeout', '2s', '--body-rate', '10KiB/s', '--body-rate-window', '1s')

    def close_time(self, connection, most=10):
        """Seconds until the peer closes."""
        start = time.monotonic()
        connection.sock.settimeout(most)
        connection.rest()
        return time.monotonic() - start

    def test_a_slow_head(self):
        """Byte by byte does not help: the whole head has its time."""
        connection = self.connect()
        start = time.monotonic()
        answer = None
        try:
            for byte in b'GET /v2/ HTTP/1.1\r\nHost: ' + b'a' * 100:
                connection.send(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        if connection.fill():
            answer = connection.response_head()
        self.assertLess(time.monotonic() - start, 8)
        if answer:
            self.assertEqual(answer.status, 408)

    def test_a_head_that_stops(self):
        connection = self.connect()
        connection.send(b'GET /v2/ HTTP/1.1\r\nHo')
        answer = connection.response()
        self.assertEqual((answer.status, answer['Connection'].lower()), (408, 'close'))
        self.assertTrue(connection.is_closed())

    def test_a_head_that_stops_and_a_client_that_stays(self):
        """After the answer the connection is given up, whether the client reads it or not."""
        connection = self.connect()
        connection.send(b'GET /v2/ HTTP/1.1\r\nHo')
        time.sleep(8)                                   # the head's time, and what is left for the client to close
        with self.assertRaises(OSError):
            for _ in range(10):
                connection.send(b'x')
                time.sleep(0.1)

    def test_empty_lines_behind_a_request(self):
        connection = self.connect()
        for _ in range(2):
            connection.send(connection.head('GET', '/v2/') + b'\r\n')
            self.assertEqual(connection.response().status, 200)
            time.sleep(1.5)                             # longer than a head may take
        self.assertEqual(connection.request('GET', '/v2/').status, 200)

    def test_a_connection_without_a_request(self):
        self.assertLess(self.close_time(self.connect()), 6)

    def test_an_idle_connection(self):
        connection = self.connect()
        connection.request('GET', '/v2/')
        time.sleep(1)
        self.assertEqual(connection.request('GET', '/v2/').status, 200)
        seconds = self.close_time(connection)
        self.assertTrue(1.5 < seconds < 6, seconds)

    def test_a_body_that_stops(self):
        place = self.registry.begin_upload(self.repository)
        connection = self.connect()
        connection.send(connection.head('PATCH', place, [('Content-Length', 100000)]) + b'x' * 1000)
        self.assertLess(self.close_time(connection), 8)
        with self.orlop.connect() as other:             # what came is kept
            self.assertEqual(other.request('GET', place)['Range'], '0-999')

    def test_a_body_slower_than_the_rate(self):
        place = self.registry.begin_upload(self.repository)
        connection = self.connect()
        connection.send(connection.head('PATCH', place, [('Content-Length', 100000)]))
        start = time.monotonic()
        try:
            while time.monotonic() - start < 10:
                connection.send(b'x' * 100)             # 1 KB/s
                time.sleep(0.1)
        except OSError:
            pass
        self.assertLess(time.monotonic() - start, 8)

    def test_a_body_faster_than_the_rate_may_take_long(self):
        """No limit on a request's whole time."""
        blob = b'x' * 3000 * 40
        place = self.registry.begin_upload(self.repository)
        connection = self.connect()
        connection.send(connection.head('PUT', with_query(place, 'digest', digest_of(blob)), [('Content-Length', len(blob))]))
        for _ in range(40):
            connection.send(b'x' * 3000)                # 30 KB/s for 4 seconds
            time.sleep(0.1)
        self.assertEqual(connection.response().status, 201)

    def test_a_reader_that_stops(self):
        blob = bytes(64 << 20)
        digest = self.registry.push_blob(self.repository, blob)
        sock = socket.create_connection((self.orlop.address, self.orlop.port))
        connection = self.connect()
        sock.sendall(connection.head('GET', f'/v2/{self.repository}/blobs/{digest}'))
        time.sleep(5)
        received = 0
        sock.settimeout(10)
        try:
            while data := sock.recv(1 << 20):
                received += len(data)
        except ConnectionResetError:
            pass
        sock.close()
        self.assertLess(received, len(blob))


class ConnectionLimitTest(DaemonTest):
    flags = ('--max-connections', '20')

    def test_the_longest_idle_go_first(self):
        connections = []
        for _ in range(20):
            connections.append(self.connect())
            self.assertEqual(connections[-1].request('GET', '/v2/').status, 200)
            time.sleep(0.02)
        self.assertEqual(connections[0].request('GET', '/v2/').status, 200)     # now the second is idle for longest
        for _ in range(5):
            self.assertEqual(self.connect().request('GET', '/v2/').status, 200)
        for connection in connections[1:6]:
            connection.sock.settimeout(5)
            self.assertTrue(connection.is_closed())
        self.assertEqual(connections[0].request('GET', '/v2/').status, 200)

    def test_a_connection_that_works_is_not_closed(self):
        place = self.registry.begin_upload(self.repository)
        worker = self.connect()
        blob = b'x' * 100
        worker.send(worker.head('PUT', with_query(place, 'digest', digest_of(blob)), [('Content-Length', 100)]) + blob[:50])
        for _ in range(100):
            self.assertEqual(self.orlop.request('GET', '/v2/').status, 200)
        crowd = [self.connect() for _ in range(30)]
        worker.send(blob[50:])
        self.assertEqual(worker.response().status, 201)
        for connection in crowd:
            connection.close()

    def test_a_storm_of_connections(self):
        """More clients than connections, all at once: served, or told to come again; and all is well afterwards."""
        errors = []

        def client():
            for _ in range(20):
                try:
                    if self.orlop.request('GET', '/v2/').status not in (200, 503):
                        errors.append('status')
                except OSError:
                    pass                                # closed to make room for another
        threads = [threading.Thread(target=client) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assert_alive()


class PageLimitTest(DaemonTest):
    flags = ('--max-page', '5')

    def test_a_larger_n_is_lowered(self):
        data = self.registry.push_image(self.repository, 'a0')
        for i in range(1, 8):
            self.registry.push_manifest(self.repository, f'a{i}', data)
        answer = self.registry.tags(self.repository, '?n=100000')
        self.assertEqual((answer.status, answer.json()['tags']), (200, ['a0', 'a1', 'a2', 'a3', 'a4']))
        self.assertTrue(answer['Link'])

    def test_tags_of_one_push(self):
        data = self.registry.push_image(self.repository, 'one')
        target = f'/v2/{self.repository}/manifests/{digest_of(data)}'
        for count, status in ((16, 201), (17, 414)):
            query = '&'.join(f'tag=t{i}' for i in range(count))
            answer = self.registry.request('PUT', f'{target}?{query}', [('Content-Type', OCI_MANIFEST)], data)
            self.assertEqual((answer.status, len(answer.all('OCI-Tag'))), (status, count if status == 201 else 0))
