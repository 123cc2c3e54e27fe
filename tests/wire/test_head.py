"""Request heads on the wire (RFC 9112, sections 2 to 6): what is accepted, however it is cut into packets; and that whatever two
readers could understand in two ways is refused and the connection closed, so that no request can be smuggled past a proxy."""
import time

from support.case import DaemonTest

NEXT = b'GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n'


def request(*lines, end=b'\r\n\r\n'):
    return b'\r\n'.join(line if isinstance(line, bytes) else line.encode() for line in lines) + end


POST = 'POST /v2/a/blobs/uploads/ HTTP/1.1'
GET = 'GET /v2/ HTTP/1.1'
TWO_MEANINGS = {
    'Content-Length with Transfer-Encoding': request(POST, 'Host: a', 'Content-Length: 5', 'Transfer-Encoding: chunked'),
    'Transfer-Encoding with Content-Length': request(POST, 'Host: a', 'Transfer-Encoding: chunked', 'Content-Length: 5'),
    'two Content-Lengths': request(POST, 'Host: a', 'Content-Length: 0', 'Content-Length: 5'),
    'two Content-Lengths in one': request(POST, 'Host: a', 'Content-Length: 0, 5'),
    'signed Content-Length': request(POST, 'Host: a', 'Content-Length: +5'),
    'negative Content-Length': request(POST, 'Host: a', 'Content-Length: -5'),
    'Content-Length with a letter': request(POST, 'Host: a', 'Content-Length: 5x'),
    'hexadecimal Content-Length': request(POST, 'Host: a', 'Content-Length: 0x5'),
    'empty Content-Length': request(POST, 'Host: a', 'Content-Length:'),
    'Content-Length with a blank inside': request(POST, 'Host: a', 'Content-Length: 1 2'),
    'Content-Length above 2^63': request(POST, 'Host: a', 'Content-Length: 9223372036854775808'),
    'Content-Length above 2^64': request(POST, 'Host: a', 'Content-Length: 18446744073709551621'),
    'unknown transfer coding': request(POST, 'Host: a', 'Transfer-Encoding: gzip'),
    'unknown coding under chunked': request(POST, 'Host: a', 'Transfer-Encoding: gzip, chunked'),
    'chunked twice': request(POST, 'Host: a', 'Transfer-Encoding: chunked, chunked'),
    'chunked in two fields': request(POST, 'Host: a', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'),
    'identity': request(POST, 'Host: a', 'Transfer-Encoding: identity'),
    'almost chunked': request(POST, 'Host: a', 'Transfer-Encoding: xchunked'),
    'chunked in quotes': request(POST, 'Host: a', 'Transfer-Encoding: "chunked"'),
    'chunked with a parameter': request(POST, 'Host: a', 'Transfer-Encoding: chunked;q=1'),
    'chunked behind a vertical tab': request(POST, 'Host: a', 'Transfer-Encoding: \vchunked'),
    'empty Transfer-Encoding': request(POST, 'Host: a', 'Transfer-Encoding:'),
    'Transfer-Encoding in HTTP/1.0': request('POST /v2/a/blobs/uploads/ HTTP/1.0', 'Transfer-Encoding: chunked'),
    'bare LF after a field': request(GET, b'Host: a\nX: y'),
    'bare LF at the end': request(GET, 'Host: a', end=b'\n\n'),
    'bare LF after the request line': b'GET /v2/ HTTP/1.1\nHost: a\r\n\r\n',
    'bare CR in a value': request(GET, 'Host: a', b'X: a\rb'),
    'bare CR in a name': request(GET, 'Host: a', b'X\r: a'),
    'folded line': request(GET, 'Host: a', 'X: a', ' b'),
    'folded line with a tab': request(GET, 'Host: a', 'X: a', '\tb'),
    'folded first line': request(GET, ' Host: a'),
    'blank before the colon': request(POST, 'Host: a', 'Content-Length : 5'),
    'tab before the colon': request(POST, 'Host: a', 'Content-Length\t: 5'),
    'no colon': request(GET, 'Host: a', 'X'),
    'no name': request(GET, 'Host: a', ': x'),
    'name that is no token': request(GET, 'Host: a', 'X(y): z'),
    'NUL in a name': request(GET, 'Host: a', b'X\0: z'),
    'NUL in a value': request(GET, 'Host: a', b'X: y\0z'),
    'NUL in the path': request(b'GET /v2/\0 HTTP/1.1', 'Host: a'),
    'NUL in the method': request(b'G\0T /v2/ HTTP/1.1', 'Host: a'),
    'NUL before all': b'\0' + request(GET, 'Host: a'),
    'control character in a value': request(GET, 'Host: a', b'X: y\x01z'),
    'DEL in a value': request(GET, 'Host: a', b'X: y\x7fz'),
    'control character in the path': request(b'GET /v2/\x1b HTTP/1.1', 'Host: a'),
    'blank in the path': request('GET /v2/ x HTTP/1.1', 'Host: a'),
    'two blanks': request('GET  /v2/ HTTP/1.1', 'Host: a'),
    'tab for a blank': request('GET\t/v2/ HTTP/1.1', 'Host: a'),
    'blank before the method': request(' GET /v2/ HTTP/1.1', 'Host: a'),
    'blank after the version': request('GET /v2/ HTTP/1.1 ', 'Host: a'),
    'method that is no token': request('G@T /v2/ HTTP/1.1', 'Host: a'),
    'no method': request('/v2/ HTTP/1.1', 'Host: a'),
    'no version': request('GET /v2/', 'Host: a'),
    'no target': request('GET HTTP/1.1', 'Host: a'),
    'target without a slash': request('GET v2/ HTTP/1.1', 'Host: a'),
    'small letters in the version': request('GET /v2/ http/1.1', 'Host: a'),
    'two digits in the version': request('GET /v2/ HTTP/1.10', 'Host: a'),
    'no Host': request(GET, 'X: y'),
    'two Hosts': request(GET, 'Host: a', 'Host: b'),
    'Host with a blank': request(GET, 'Host: a b'),
    'a Host that is none': request(GET, 'Host: a/b'),
}


class HeadTest(DaemonTest):
    def exchange(self, data):
        """The status of the only answer; then the peer must close."""
        with self.orlop.connect() as connection:
            connection.send(data)
            answer = connection.response()
            closed = connection.is_closed()
        return answer, closed

    def test_what_has_two_meanings_is_refused_and_the_connection_closed(self):
        for what, head in TWO_MEANINGS.items():
            with self.subTest(what):
                # What follows would be a second request for whoever reads the first otherwise.
                answer, closed = self.exchange(head + b'0\r\n\r\n' + NEXT)
                self.assertEqual(answer.status, 400, answer)
                self.assertEqual(answer['Connection'].lower(), 'close')
                self.assertTrue(answer.message())
                self.assertTrue(closed, 'something was answered behind a request that was refused')
        self.assert_alive()

    def test_the_version_is_http_1(self):
        for version in ('HTTP/2.0', 'HTTP/0.9', 'HTTP/3.0'):
            answer, closed = self.exchange(request(f'GET /v2/ {version}', 'Host: a'))
            self.assertEqual(answer.status, 505, version)
            self.assertTrue(closed)

    def test_a_later_version_of_http_1_is_answered_as_1_1(self):
        answer, _ = self.exchange(request('GET /v2/ HTTP/1.2', 'Host: a', 'Connection: close'))
        self.assertEqual((answer.status, answer.version), (200, 1))

    def test_the_beginning_of_http_2_is_no_request(self):
        answer, closed = self.exchange(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
        self.assertIn(answer.status, (400, 505))
        self.assertTrue(closed)

    def test_accepted_forms(self):
        rows = {
            'empty lines before': b'\r\n\r\n' + request(GET, 'Host: a'),
            'blanks around a value': request(GET, 'Host: \t a \t '),
            'no blank before a value': request(GET, 'Host:a'),
            'an empty value': request(GET, 'Host: a', 'X:'),
            'bytes above ASCII in a value': request(GET, 'Host: a', b'X: \xc3\xa4\xff'),
            'small and large letters': request(GET, 'hOsT: a'),
            'Host of IPv6': request(GET, 'Host: [::1]:5000'),
            'an empty Host': request(GET, 'Host:'),
            'the absolute form': request('GET http://a/v2/ HTTP/1.1', 'Host: a'),
            'a query': request('GET /v2/?ns=docker.io&x=%2f HTTP/1.1', 'Host: a'),
            'Content-Length 0': request(GET, 'Host: a', 'Content-Length: 0'),
        }
        for what, head in rows.items():
            with self.subTest(what), self.orlop.connect() as connection:
                connection.send(head)
                self.assertEqual(connection.response().status, 200)
                connection.send(NEXT)
                self.assertEqual(connection.response().status, 200)

    def test_a_request_may_be_cut_anywhere(self):
        """All cuts at once: a connection each, so that the test need not wait for each."""
        head = request('GET /v2/?a=b HTTP/1.1', 'Host: a', 'User-Agent: cut', 'X: y')
        connections = []
        for cut in range(1, len(head)):
            connection = self.connect()
            connection.send(head[:cut])
            connections.append((cut, connection))
        time.sleep(0.2)
        for cut, connection in connections:
            connection.send(head[cut:])
        for cut, connection in connections:
            self.assertEqual(connection.response().status, 200, f'cut at {cut}')

    def test_a_request_may_come_byte_by_byte(self):
        connection = self.connect()
        for byte in request(GET, 'Host: a'):
            connection.send(bytes([byte]))
            time.sleep(0.001)
        self.assertEqual(connection.response().status, 200)

    def test_an_attack_cut_anywhere_stays_an_attack(self):
        for what in ('Content-Length with Transfer-Encoding', 'bare CR in a value', 'folded line', 'two Content-Lengths'):
            head = TWO_MEANINGS[what]
            connections = []
            for cut in range(1, len(head)):
                connection = self.connect()
                connection.send(head[:cut])
                connections.append((cut, connection))
            time.sleep(0.1)
            for cut, connection in connections:
                try:
                    connection.send(head[cut:])
                except OSError:                         # refused before its end came
                    pass
                self.assertEqual(connection.response().status, 400, f'{what}, cut at {cut}')
                connection.close()

    def test_unknown_methods_and_paths(self):
        for method, target, status in (
                ('BREW', '/v2/', 405), ('get', '/v2/', 405), ('TRACE', '/v2/', 405), ('DELETE', '/v2/', 405),
                ('GET', '/', 200), ('GET', '/nothing', 404), ('GET', '/v1/', 404), ('GET', '/v2/a/b', 404), ('GET', '/../v2/', 404),
                ('GET', '/v2/%zz/tags/list', 400), ('GET', '//v2/', 404)):
            answer = self.orlop.request(method, target)
            self.assertEqual(answer.status, status, f'{method} {target}: {answer}')
            if status == 405:
                self.assertIn('GET', answer['Allow'])
            if status != 200:
                self.assertTrue(answer.error_code())

    def test_connect_and_asterisk(self):
        for line in ('CONNECT a:443 HTTP/1.1', 'OPTIONS * HTTP/1.1'):
            with self.orlop.connect() as connection:
                connection.send(request(line, 'Host: a'))
                self.assertLess(connection.response().status, 500)
        self.assert_alive()

    def test_every_answer_says_when_and_who(self):
        answer = self.orlop.request('GET', '/v2/')
        self.assertRegex(answer['Date'], r'^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$')
        self.assertRegex(answer['X-Request-Id'], r'^[0-9a-zA-Z]{16}$')
        self.assertEqual(answer['Docker-Distribution-API-Version'], 'registry/2.0')
        self.assertNotEqual(answer['X-Request-Id'], self.orlop.request('GET', '/v2/')['X-Request-Id'])
