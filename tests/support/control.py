"""The daemon's control socket, byte by byte: what the commands say there, and what they would never say."""
import json
import socket

SECONDS = 60                            # sanitizers and a busy machine


def connect(data, timeout=SECONDS):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(data / 'control.sock'))
    sock.settimeout(timeout)
    return sock


def read_lines(sock):
    """All lines until the daemon closes; where it has not read all that was sent, its close is a reset."""
    text = b''
    try:
        while part := sock.recv(1 << 16):
            text += part
    except ConnectionResetError:
        pass
    assert not text or text.endswith(b'\n'), text[-200:]
    return [json.loads(line) for line in text.splitlines()]


def request(operation, words=(), **more):
    """The line that asks for an operation."""
    return json.dumps({'operation': operation, 'words': list(words), **more}).encode() + b'\n'


def send(data, line):
    """The answer's lines; none where the daemon closed without a word."""
    with connect(data) as sock:
        try:
            sock.sendall(line)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_lines(sock)


def collect_at_once(data, **rules):
    """A collection by which nothing has to wait, as the commands, whose rules are a second at least, cannot ask for; and a second
    one, for the files of the first. What both removed."""
    totals = []
    for _ in range(2):
        lines = send(data, request('gc', grace_us=0, trash_delay_us=0, upload_expiry_us=0, **rules))
        assert lines[-1] == {'kind': 'end', 'status': 0}, lines[-1]
        totals.append(lines[-2])
    return {name: totals[0][name] + totals[1][name] for name in ('manifests', 'blobs', 'files', 'uploads', 'bytes')}
