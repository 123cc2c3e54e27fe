"""HTTP/1.1 over a socket, byte by byte in the test's hands: what is sent is what the test wrote, and nothing is repaired on
the way in. Reading is strict, so that an answer that is not well formed fails the test that got it."""
import json
import re
import socket

RECEIVE_BYTES = 1 << 18


class Closed(OSError):
    """The peer closed where an answer should be."""


class Response:
    def __init__(self, version, status, headers, body=b''):
        self.version, self.status, self.headers, self.body = version, status, headers, body

    def __getitem__(self, name):
        """The value of a header, None where there is none. Two of one name are an error."""
        values = self.all(name)
        assert len(values) < 2, f'{name}: {values}'
        return values[0] if values else None

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self):
        return json.loads(self.body)

    def error_code(self):
        """The code of an answer in the OCI error format, which is checked."""
        assert self['Content-Type'] == 'application/json', self
        errors = self.json()['errors']
        assert len(errors) == 1 and errors[0]['message'], errors
        return errors[0]['code']

    def message(self):
        return self.json()['errors'][0]['message']

    def __repr__(self):
        return f'<{self.status} {self.headers} {self.body[:300]!r}>'


class Connection:
    def __init__(self, sock, host):
        self.sock, self.host = sock, host
        self.buffer = b''

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        self.sock.close()

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode('latin-1'))

    def head(self, method, target, headers=()):
        """The bytes of a well-formed head."""
        lines = [f'{method} {target} HTTP/1.1']
        names = {name.lower() for name, _ in headers}
        if 'host' not in names:
            lines.append(f'Host: {self.host}')
        lines += [f'{name}: {value}' for name, value in headers]
        return ('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1')

    def request(self, method, target, headers=(), body=None):
        """body: bytes, sent with its Content-Length."""
        headers = list(headers)
        if body is not None and not any(name.lower() in ('content-length', 'transfer-encoding') for name, _ in headers):
            headers.append(('Content-Length', len(body)))
        self.send(self.head(method, target, headers) + (body or b''))
        return self.response(method)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    # --- receiving ----------------------------------------------------------------------------------------------------

    def fill(self):
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except ConnectionResetError:
            data = b''
        self.buffer += data
        return bool(data)

    def until(self, end):
        while end not in self.buffer:
            if not self.fill():
                raise Closed(f'closed after {self.buffer[:200]!r}')
        data, _, self.buffer = self.buffer.partition(end)
        return data

    def exactly(self, count):
        parts, missing = [self.buffer[:count]], count - len(self.buffer)
        self.buffer = self.buffer[count:]
        while missing > 0:
            data = self.sock.recv(min(missing, RECEIVE_BYTES))
            if not data:
                raise Closed(f'closed {missing} bytes before the end of a body of {count}')
            parts.append(data)
            missing -= len(data)
        return b''.join(parts)

    def response_head(self):
        lines = self.until(b'\r\n\r\n').decode('latin-1').split('\r\n')
        match = re.fullmatch(r'HTTP/1\.([01]) (\d{3}) ([\x20-\x7e]*)', lines[0])
        assert match, f'status line {lines[0]!r}'
        headers = []
        for line in lines[1:]:
            field = re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
                                 r'[\x21-\x7e\x80-\xff])?|)[ \t]*', line)
            assert field, f'header line {line!r}'
            headers.append((field[1], field[2]))
        return Response(int(match[1]), int(match[2]), headers)

    def response(self, method='GET'):
        """The next final answer; 1xx before it are passed over."""
        answer = self.response_head()
        while answer.status < 200:
            answer = self.response_head()
        if method == 'HEAD' or answer.status in (204, 304):
            return answer
        if answer['Transfer-Encoding']:
            assert answer['Transfer-Encoding'] == 'chunked' and answer['Content-Length'] is None, answer
            answer.body = self.chunks()
        elif answer['Content-Length'] is not None:
            answer.body = self.exactly(int(answer['Content-Length']))
        else:
            answer.body = self.rest()
        return answer

    def chunks(self):
        body = b''
        while True:
            size = int(self.until(b'\r\n'), 16)
            body += self.exactly(size)
            assert self.exactly(2) == b'\r\n'
            if size == 0:
                return body

    def rest(self):
        """All that comes until the peer closes."""
        while self.fill():
            pass
        data, self.buffer = self.buffer, b''
        return data

    def is_closed(self):
        """Waits for the peer's close (within the socket's time-out); what it sends before is an error."""
        return self.rest() == b''


def chunked(*parts):
    """A chunked body of these parts."""
    return b''.join(b'%x\r\n%s\r\n' % (len(part), part) for part in parts if part) + b'0\r\n\r\n'
