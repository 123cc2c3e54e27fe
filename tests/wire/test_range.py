"""Ranges and conditions on the wire (RFC 9110, sections 13 and 14): one range, many, none; If-None-Match, If-Range. Clients resume
pulls with them and fetch parts of layers."""
import random
import re

from support.case import DaemonTest
from support.registry import digest_of

SIZE = 200_000


class RangeTest(DaemonTest):
    flags = ('--max-ranges', '16')

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.blob = random.Random(1).randbytes(SIZE)

    def setUp(self):
        super().setUp()
        self.digest = self.registry.push_blob(self.repository, self.blob)

    def get(self, *headers, method='GET'):
        return self.registry.blob(self.repository, self.digest, method, headers)

    def test_one_range(self):
        rows = {
            'bytes=0-0': (0, 0), 'bytes=0-99': (0, 99), 'bytes=100-': (100, SIZE - 1), 'bytes=0-': (0, SIZE - 1),
            'bytes=-1': (SIZE - 1, SIZE - 1), 'bytes=-500': (SIZE - 500, SIZE - 1), f'bytes=-{SIZE * 2}': (0, SIZE - 1),
            f'bytes=5-{SIZE * 9}': (5, SIZE - 1), f'bytes={SIZE - 1}-': (SIZE - 1, SIZE - 1), 'BYTES=1-2': (1, 2),
            'bytes=1-18446744073709551615': (1, SIZE - 1),
        }
        for value, (first, last) in rows.items():
            with self.subTest(value):
                answer = self.get(('Range', value))
                self.assertEqual((answer.status, answer['Content-Range']), (206, f'bytes {first}-{last}/{SIZE}'))
                self.assertEqual(answer.body, self.blob[first:last + 1])
                self.assertEqual(answer['Docker-Content-Digest'], self.digest)

    def test_ranges_that_cannot_be_satisfied(self):
        for value in (f'bytes={SIZE}-', f'bytes={SIZE + 5}-{SIZE + 9}', 'bytes=500-0', 'bytes=-0',
                      'bytes=18446744073709551615-'):
            with self.subTest(value):
                answer = self.get(('Range', value))
                self.assertEqual((answer.status, answer['Content-Range']), (416, f'bytes */{SIZE}'), answer)
                self.assertEqual(answer.error_code(), 'RANGE_INVALID')

    def test_what_is_no_range_gets_the_whole(self):
        for value in ('bytes', 'bytes=', 'bytes=a-b', 'bytes=1', 'lines=1-2', 'bytes=1-2x', 'bytes=--1', 'bytes 0-1',
                      'bytes=0x0-0x5', 'bytes=1 -2', ''):
            with self.subTest(value):
                answer = self.get(('Range', value))
                self.assertEqual((answer.status, answer.body), (200, self.blob), answer)

    def parts(self, answer):
        boundary = re.fullmatch(r'multipart/byteranges; boundary="?([\w\'()+,./:=?-]{1,70})"?', answer['Content-Type'])[1].encode()
        self.assertNotIn(boundary, self.blob)
        pieces = answer.body.split(b'\r\n--' + boundary) if answer.body.startswith(b'\r\n') else \
            (b'\r\n' + answer.body).split(b'\r\n--' + boundary)
        self.assertIn(pieces[0], (b'',))
        self.assertEqual(pieces[-1].strip(), b'--')
        result = []
        for piece in pieces[1:-1]:
            head, _, body = piece.partition(b'\r\n\r\n')
            first, last, size = map(int, re.search(rb'(?i)content-range: bytes (\d+)-(\d+)/(\d+)', head).groups())
            self.assertEqual((size, len(body)), (SIZE, last - first + 1))
            self.assertEqual(body, self.blob[first:last + 1])
            result.append((first, last))
        return result

    def test_many_ranges(self):
        rows = {
            'bytes=0-0,5-9': [(0, 0), (5, 9)],
            'bytes=0-9, 100-199 ,-10': [(0, 9), (100, 199), (SIZE - 10, SIZE - 1)],
            'bytes=100-199,0-9': [(100, 199), (0, 9)],
            f'bytes=0-1,{SIZE}-,3-4': [(0, 1), (3, 4)],
            'bytes=,0-1,,3-4,': [(0, 1), (3, 4)],
        }
        for value, want in rows.items():
            with self.subTest(value):
                answer = self.get(('Range', value))
                self.assertEqual(answer.status, 206, answer)
                self.assertEqual(self.parts(answer), want)

    def test_one_of_many_that_can_be_satisfied(self):
        answer = self.get(('Range', f'bytes=3-4,{SIZE}-'))
        self.assertEqual(answer.status, 206)
        self.assertEqual(answer.body, self.blob[3:5])

    def test_too_many_ranges_get_the_whole(self):
        most = ','.join(f'{i * 10}-{i * 10}' for i in range(16))
        self.assertEqual(len(self.parts(self.get(('Range', 'bytes=' + most)))), 16)
        answer = self.get(('Range', f'bytes={most},999-999'))
        self.assertEqual((answer.status, answer.body), (200, self.blob))

    def test_overlapping_ranges_cost_no_more_than_the_whole(self):
        answer = self.get(('Range', 'bytes=' + ','.join(['0-'] * 16)))
        self.assertIn(answer.status, (200, 206))
        self.assertLess(len(answer.body), 2 * SIZE)

    def test_head_ignores_ranges(self):
        answer = self.get(('Range', 'bytes=0-9'), method='HEAD')
        self.assertEqual((answer.status, answer['Content-Length']), (200, str(SIZE)))
        self.assertEqual(answer['Accept-Ranges'], 'bytes')

    def test_a_connection_survives_many_ranges(self):
        connection = self.connect()
        generator = random.Random(2)
        for _ in range(200):
            first = generator.randrange(SIZE)
            last = generator.randrange(first, SIZE)
            answer = connection.request('GET', f'/v2/{self.repository}/blobs/{self.digest}', [('Range', f'bytes={first}-{last}')])
            self.assertEqual(answer.body, self.blob[first:last + 1])

    def test_if_range(self):
        same, other = f'"{self.digest}"', f'"{digest_of(b"x")}"'
        for value, status in ((same, 206), (other, 200), (f'W/{same}', 200), ('Tue, 01 Jan 2030 00:00:00 GMT', 200)):
            self.assertEqual(self.get(('Range', 'bytes=0-9'), ('If-Range', value)).status, status, value)

    def test_if_none_match(self):
        same, other = f'"{self.digest}"', f'"{digest_of(b"x")}"'
        for value, status in ((same, 304), (other, 200), (f'{other}, {same}', 304), (f'W/{same}', 304), ('*', 304), ('', 200)):
            for method in ('GET', 'HEAD'):
                answer = self.get(('If-None-Match', value), method=method)
                self.assertEqual(answer.status, status, value)
                if status == 304:
                    self.assertEqual(answer['ETag'], same)

    def test_manifests_have_etags_too(self):
        data = self.registry.push_image(self.repository, 'one')
        etag = f'"{digest_of(data)}"'
        self.assertEqual(self.registry.manifest(self.repository, 'one')['ETag'], etag)
        self.assertEqual(self.registry.manifest(self.repository, 'one', headers=[('If-None-Match', etag)]).status, 304)

    def test_small_blobs_have_ranges_too(self):
        digest = self.registry.push_blob(self.repository, b'0123456789')
        answer = self.registry.blob(self.repository, digest, headers=[('Range', 'bytes=2-4')])
        self.assertEqual((answer.status, answer.body), (206, b'234'))
        answer = self.registry.blob(self.repository, digest, headers=[('Range', 'bytes=0-1,8-9')])
        self.assertEqual(answer.status, 206)
        answer = self.registry.blob(self.repository, self.registry.push_blob(self.repository, b''), headers=[('Range', 'bytes=0-')])
        self.assertIn(answer.status, (200, 416))
