"""Connections and bodies on the wire (RFC 9112, sections 6 to 9): keep-alive and HTTP/1.0, pipelining, chunked bodies in however
they are cut, Expect: 100-continue, HEAD, peers that go away or close one half."""
import random
import time

from support.case import DaemonTest
from support.registry import digest_of, with_query
from support.wire import chunked

HOST = b'Host: a\r\n'


class KeepAliveTest(DaemonTest):
    def get(self, version, *headers):
        return b'\r\n'.join([b'GET /v2/ HTTP/' + version, b'Host: a', *headers]) + b'\r\n\r\n'

    def test_http_1_1_stays_open(self):
        connection = self.connect()
        for _ in range(100):
            self.assertEqual(connection.request('GET', '/v2/').status, 200)

    def test_http_1_1_closes_when_asked(self):
        for value in (b'close', b'Close', b'keep-alive, close', b'close, TE'):
            connection = self.connect()
            connection.send(self.get(b'1.1', b'Connection: ' + value))
            self.assertEqual(connection.response()['Connection'].lower(), 'close')
            self.assertTrue(connection.is_closed())

    def test_http_1_0_closes(self):
        connection = self.connect()
        connection.send(self.get(b'1.0'))
        answer = connection.response()
        self.assertEqual((answer.status, answer['Transfer-Encoding']), (200, None))
        self.assertTrue(connection.is_closed())

    def test_http_1_0_without_host(self):
        connection = self.connect()
        connection.send(b'GET /v2/ HTTP/1.0\r\n\r\n')
        self.assertEqual(connection.response().status, 200)

    def test_http_1_0_stays_open_when_asked(self):
        connection = self.connect()
        for _ in range(3):
            connection.send(self.get(b'1.0', b'Connection: keep-alive'))
            answer = connection.response()
            self.assertEqual((answer.status, answer['Connection'].lower()), (200, 'keep-alive'))

    def test_an_error_of_the_registry_keeps_the_connection(self):
        connection = self.connect()
        self.assertEqual(connection.request('GET', '/v2/none/tags/list').status, 404)
        self.assertEqual(connection.request('GET', '/v2/').status, 200)


class PipelineTest(DaemonTest):
    def test_answers_come_in_the_order_of_the_requests(self):
        self.registry.push_image(self.repository, 'one')
        connection = self.connect()
        targets = ['/v2/', f'/v2/{self.repository}/tags/list', '/nothing', f'/v2/{self.repository}/manifests/one', '/healthz'] * 20
        connection.send(b''.join(connection.head('GET', target) for target in targets))
        for target in targets:
            answer = connection.response()
            self.assertEqual(answer.status, 404 if target == '/nothing' else 200, target)
            self.assertEqual(b'"tags"' in answer.body, target.endswith('tags/list'))

    def test_bodies_between_requests(self):
        connection = self.connect()
        post = f'/v2/{self.repository}/blobs/uploads/'
        blobs = [b'x' * size for size in (0, 1, 100, 70000)]
        data = b''
        for blob in blobs:
            target = with_query(post, 'digest', digest_of(blob))
            data += connection.head('POST', target, [('Content-Length', len(blob))]) + blob
            data += connection.head('POST', target, [('Transfer-Encoding', 'chunked')]) + chunked(blob)
            data += connection.head('HEAD', f'/v2/{self.repository}/blobs/{digest_of(blob)}')
        connection.send(data)
        for blob in blobs:
            self.assertEqual(connection.response().status, 201)
            self.assertEqual(connection.response().status, 201)
            answer = connection.response('HEAD')
            self.assertEqual((answer.status, answer['Content-Length']), (200, str(len(blob))))

    def test_cut_anywhere(self):
        """Two requests with bodies, cut in two at every byte."""
        blob = b'some bytes'
        connection = self.connect()
        target = with_query(f'/v2/{self.repository}/blobs/uploads/', 'digest', digest_of(blob))
        data = connection.head('POST', target, [('Content-Length', len(blob))]) + blob
        data += connection.head('POST', target, [('Transfer-Encoding', 'chunked')]) + chunked(blob[:3], blob[3:])
        connections = []
        for cut in range(1, len(data)):
            connections.append((cut, self.connect()))
            connections[-1][1].send(data[:cut])
        time.sleep(0.2)
        for cut, connection in connections:
            connection.send(data[cut:])
        for cut, connection in connections:
            self.assertEqual([connection.response().status for _ in range(2)], [201, 201], f'cut at {cut}')

    def test_a_reader_who_waits_long_gets_all(self):
        blob = random.randbytes(8 << 20)
        digest = self.registry.push_blob(self.repository, blob)
        connection = self.connect()
        connection.send(connection.head('GET', f'/v2/{self.repository}/blobs/{digest}') * 3)
        time.sleep(0.5)
        for _ in range(3):
            self.assertEqual(connection.response().body, blob)


class ChunkedTest(DaemonTest):
    def upload(self, body, connection=None):
        """A PATCH with this chunked body on a session of its own."""
        place = self.registry.begin_upload(self.repository)
        connection = connection or self.connect()
        connection.send(connection.head('PATCH', place, [('Transfer-Encoding', 'chunked')]) + body)
        return connection, connection.response()

    def test_accepted_forms(self):
        rows = {
            'nothing': (b'0\r\n\r\n', 0),
            'one chunk': (b'5\r\nhello\r\n0\r\n\r\n', 5),
            'leading zeros': (b'0005\r\nhello\r\n000\r\n\r\n', 5),
            'large letters': (b'A\r\n0123456789\r\n0\r\n\r\n', 10),
            'an extension': (b'5;a=b;c="d e"\r\nhello\r\n0;x\r\n\r\n', 5),
            'trailers': (b'5\r\nhello\r\n0\r\nContent-Length: 7\r\nX: y\r\n\r\n', 5),
            'a chunk a byte': (chunked(*[b'x'] * 2000), 2000),
        }
        for what, (body, size) in rows.items():
            with self.subTest(what):
                connection, answer = self.upload(body)
                self.assertEqual((answer.status, answer['Range']), (202, f'0-{max(size - 1, 0)}'))
                self.assertEqual(connection.request('GET', '/v2/').status, 200)

    def test_malformed_bodies_are_refused_and_the_connection_closed(self):
        rows = {
            'no digit': b'\r\nhello\r\n',
            'no hexadecimal digit': b'x\r\n',
            'signed': b'+5\r\nhello\r\n0\r\n\r\n',
            'negative': b'-5\r\nhello\r\n0\r\n\r\n',
            'prefix': b'0x5\r\nhello\r\n0\r\n\r\n',
            'blank before': b' 5\r\nhello\r\n0\r\n\r\n',
            'above 2^63': b'8000000000000000\r\nhello',
            'above 2^64': b'10000000000000005\r\nhello\r\n0\r\n\r\n',
            'many digits': b'0' * 100 + b'5\r\nhello\r\n0\r\n\r\n',
            'bare LF after the size': b'5\nhello\r\n0\r\n\r\n',
            'bare LF after the data': b'5\r\nhello\n0\r\n\r\n',
            'data longer than its size': b'3\r\nhello\r\n0\r\n\r\n',
            'data shorter than its size': b'7\r\nhello\r\n0\r\n\r\n0\r\n\r\n',
            'bare CR in the size': b'5\rx\r\nhello\r\n0\r\n\r\n',
            'NUL in the size': b'5\0\r\nhello\r\n0\r\n\r\n',
            'bare LF in the trailer': b'0\r\nX: y\n\r\n',
            'a huge extension': b'5;' + b'x' * 100000 + b'\r\nhello\r\n0\r\n\r\n',
            'a huge trailer': b'0\r\n' + b'X: y\r\n' * 20000 + b'\r\n',
        }
        for what, body in rows.items():
            with self.subTest(what):
                place = self.registry.begin_upload(self.repository)
                connection = self.connect()
                try:
                    connection.send(connection.head('PATCH', place, [('Transfer-Encoding', 'chunked')]) + body +
                                    connection.head('GET', '/v2/'))
                except OSError:                         # closed while we were still sending
                    pass
                self.assertEqual(connection.response().status, 400)
                self.assertTrue(connection.is_closed())

    def test_cut_anywhere(self):
        body = chunked(b'hello', b'w', b'orld' * 5)
        whole = b'hello' + b'w' + b'orld' * 5
        connections = []
        for cut in range(len(body)):
            place = self.registry.begin_upload(self.repository)
            connection = self.connect()
            target = with_query(place, 'digest', digest_of(whole))
            connection.send(connection.head('PUT', target, [('Transfer-Encoding', 'chunked')]) + body[:cut])
            connections.append((cut, connection))
        time.sleep(0.2)
        for cut, connection in connections:
            connection.send(body[cut:])
            self.assertEqual(connection.response().status, 201, f'cut at {cut}')


class ExpectTest(DaemonTest):
    def put(self, connection, blob, *headers):
        place = self.registry.begin_upload(self.repository)
        connection.send(connection.head('PUT', with_query(place, 'digest', digest_of(blob)),
                                        [('Content-Length', len(blob)), *headers]))

    def test_100_comes_before_the_body(self):
        connection = self.connect()
        self.put(connection, b'hello', ('Expect', '100-continue'))
        self.assertEqual(connection.response_head().status, 100)
        connection.send(b'hello')
        self.assertEqual(connection.response().status, 201)
        self.assertEqual(connection.request('GET', '/v2/').status, 200)

    def test_no_100_where_the_body_is_already_there(self):
        connection = self.connect()
        place = self.registry.begin_upload(self.repository)
        connection.send(connection.head('PUT', with_query(place, 'digest', digest_of(b'hello')),
                                        [('Content-Length', 5), ('Expect', '100-continue')]) + b'hello')
        answer = connection.response_head()
        if answer.status == 100:                        # allowed, but then once
            answer = connection.response_head()
        self.assertEqual(answer.status, 201)

    def test_a_refusal_comes_instead_of_100(self):
        connection = self.connect()
        connection.send(connection.head('PUT', f'/v2/{self.repository}/blobs/uploads/none?digest={digest_of(b"x")}',
                                        [('Content-Length', 1), ('Expect', '100-continue')]))
        answer = connection.response_head()
        self.assertEqual(answer.status, 404)

    def test_http_1_0_gets_no_100(self):
        place = self.registry.begin_upload(self.repository)
        connection = self.connect()
        target = with_query(place, 'digest', digest_of(b'hello'))
        connection.send(f'PUT {target} HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello')
        self.assertEqual(connection.response_head().status, 201)

    def test_unknown_expectations_are_refused(self):
        connection = self.connect()
        self.put(connection, b'hello', ('Expect', '200-ok'))
        self.assertEqual(connection.response().status, 417)


class HeadMethodTest(DaemonTest):
    def test_head_is_get_without_the_body(self):
        data = self.registry.push_image(self.repository, 'one', layers=(b'x' * 10000,))
        for target in ('/v2/', f'/v2/{self.repository}/tags/list', f'/v2/{self.repository}/manifests/one', '/nothing', '/healthz',
                       f'/v2/{self.repository}/manifests/{digest_of(data)}', f'/v2/{self.repository}/manifests/none', '/',
                       f'/v2/{self.repository}/blobs/{digest_of(b"x" * 10000)}', '/v2/_catalog', '/readyz'):
            connection = self.connect()
            get, head = connection.request('GET', target), connection.request('HEAD', target)
            self.assertEqual(connection.request('GET', '/v2/').status, 200)
            self.assertEqual(head.status, get.status, target)
            ignored = ('date', 'x-request-id')
            self.assertEqual([pair for pair in head.headers if pair[0].lower() not in ignored],
                             [pair for pair in get.headers if pair[0].lower() not in ignored], target)
            self.assertEqual(int(head['Content-Length']), len(get.body), target)


class PeerTest(DaemonTest):
    def test_a_half_closed_client_gets_its_answer(self):
        connection = self.connect()
        connection.send(connection.head('GET', '/v2/'))
        connection.half_close()
        self.assertEqual(connection.response().status, 200)
        self.assertTrue(connection.is_closed())

    def test_a_client_that_closes_its_half_in_a_head_is_closed(self):
        connection = self.connect()
        connection.send(b'GET /v2/ HT')
        connection.half_close()
        connection.rest()
        self.assert_alive()

    def test_a_body_that_breaks_off_is_kept(self):
        """... so that the upload can go on."""
        place = self.registry.begin_upload(self.repository)
        for headers, body, want in (([('Content-Length', 100000)], b'x' * 50000, '0-49999'),
                                    ([('Transfer-Encoding', 'chunked')], b'c350\r\n' + b'x' * 50000 + b'\r\n', '0-99999')):
            connection = self.connect()
            connection.send(connection.head('PATCH', place, headers) + body)
            time.sleep(0.1)
            connection.close()
            deadline = time.monotonic() + 10
            while True:                                 # the session is busy until the break is noticed
                answer = self.registry.request('GET', place)
                if answer['Range'] == want or time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            self.assertEqual((answer.status, answer['Range']), (204, want))
        blob = b'x' * 100000 + b'end'
        self.assertEqual(self.registry.request('PUT', with_query(place, 'digest', digest_of(blob)), body=b'end').status, 201)
        self.assertEqual(self.registry.blob(self.repository, digest_of(blob)).body, blob)

    def test_a_session_is_free_when_its_answer_is_read(self):
        """The next request may come on another connection at once."""
        one, two = self.connect(), self.connect()
        for i in range(200):
            blob = b'%d' % i
            place = one.request('POST', f'/v2/{self.repository}/blobs/uploads/', [('Content-Length', 0)])['Location']
            self.assertEqual(two.request('PATCH', place, (), blob).status, 202)
            self.assertEqual(one.request('GET', place).status, 204)
            self.assertEqual(two.request('PUT', with_query(place, 'digest', digest_of(blob)), (), b'').status, 201)

    def test_readers_that_go_away_disturb_nobody(self):
        blob = random.randbytes(4 << 20)
        digest = self.registry.push_blob(self.repository, blob)
        for _ in range(50):
            connection = self.connect()
            connection.send(connection.head('GET', f'/v2/{self.repository}/blobs/{digest}'))
            connection.sock.recv(1000)
            connection.close()
        self.assertEqual(self.registry.blob(self.repository, digest).body, blob)
        self.assertNotRegex(self.orlop.log(), r'(?i)\berror\b.*blobs')

    def test_connections_that_say_nothing_are_no_trouble(self):
        for _ in range(200):
            self.connect()
        self.assert_alive()
