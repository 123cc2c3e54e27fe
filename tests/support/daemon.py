"""Starts and stops the daemon under test: its own data folder, a free port, its log in a file.

    with Daemon('--max-connections', '10') as orlop:
            ... orlop.port, orlop.data, orlop.log() ...

The binary is that of the build, or TEST_BINARY. Leaving the block stops it and checks that it ended well: exit code 0, and no
sanitizer spoke."""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from support.wire import Connection

START_SECONDS = 30                      # sanitizers and a busy machine
STOP_SECONDS = 60
SANITIZER_WORDS = re.compile(r'(ERROR|WARNING): \w+Sanitizer|runtime error:')
FREE_PORT_TRIES = 5


def binary():
    return os.environ.get('TEST_BINARY') or str(Path(__file__).resolve().parents[2] / 'build' / 'orlop')


def free_port(address='127.0.0.1'):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        return sock.getsockname()[1]


class StartFailed(Exception):
    pass


class Daemon:
    """certificate: (file, key file) for --tls files. data: a folder to use, which stays; without one a fresh folder that goes.
    port: a fixed one, for tests in a network of their own.
    prefix: words before the program's."""

    def __init__(self, *flags, tls=False, certificate=None, address='127.0.0.1', port=None, data=None, env=None, prefix=()):
        self.flags, self.tls, self.certificate = flags, tls or bool(certificate), certificate
        self.address, self.prefix = address, list(prefix)
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-test-'))
        self.data = Path(data) if data else self.folder / 'data'
        # Settings of whoever runs the tests are not ours.
        self.env = {**{name: value for name, value in os.environ.items() if not name.startswith('ORLOP_')}, **(env or {})}
        self.log_path = self.folder / 'log'
        self.process = None
        self.fixed_port = self.port = port

    # --- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        try:
            self.stop()
        finally:
            self.clean()

    def clean(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """A port that was free may be taken by another test before we have it: try again with the next."""
        for attempt in range(FREE_PORT_TRIES):
            self.port = self.fixed_port or free_port(self.address)
            self.spawn()
            try:
                self.wait_ready()
                return self
            except StartFailed:
                if attempt + 1 == FREE_PORT_TRIES or 'in use' not in self.log():
                    self.clean()
                    raise

    def listen_flag(self):
        return f'[{self.address}]:{self.port}' if ':' in self.address else f'{self.address}:{self.port}'

    def command(self):
        return [*self.prefix, binary(), 'serve', '--data', str(self.data), '--listen', self.listen_flag(),
                *self.tls_flags(), *self.flags]

    def tls_flags(self):
        if self.certificate:
            return ['--tls', 'files', '--tls-cert', str(self.certificate[0]), '--tls-key', str(self.certificate[1])]
        return ['--tls', 'auto' if self.tls else 'off']

    def spawn(self):
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)

    def wait_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartFailed(f'the daemon ended with {self.process.returncode}:\n{self.log()}')
            try:
                if self.request('GET', '/readyz').status == 200 and self.is_announced():
                    return
            except OSError:
                pass
            time.sleep(0.01)
        self.kill()
        raise StartFailed(f'the daemon was not ready after {START_SECONDS} s:\n{self.log()}')

    def is_announced(self):
        """It serves before it writes its addresses into the lock, where orlop health and others look them up."""
        pid, _, addresses = (self.data / 'lock').read_text().partition('\n')
        return addresses != '' and (self.prefix != [] or pid == str(self.process.pid))

    def stop(self, check=True):
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f'the daemon did not stop in {STOP_SECONDS} s:\n{self.log()}') from None
        if check:
            assert code == 0, f'the daemon ended with {code}:\n{self.log()}'
            assert not SANITIZER_WORDS.search(self.log()), self.log()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        if self.process.poll() is None:
            self.stop()
        return self.start()

    # --- what it says -------------------------------------------------------------------------------------------------

    def log(self):
        return self.log_path.read_text(encoding='utf-8', errors='replace')

    def wait_log(self, pattern, seconds=10):
        """The first match in the log, waiting for it."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.log(), re.MULTILINE)
            if match or time.monotonic() > deadline:
                assert match, f'no "{pattern}" in the log:\n{self.log()}'
                return match
            time.sleep(0.02)

    # --- talking to it ------------------------------------------------------------------------------------------------

    @property
    def host(self):
        return self.listen_flag()

    @property
    def authority(self):
        return Path(self.certificate[0]) if self.certificate else self.data / 'tls' / 'ca.crt'

    def tls_context(self):
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_alpn_protocols(['http/1.1'])
        return context

    def connect(self, tls=None, timeout=20):
        """tls: a context of the test's own; without one the authority of the daemon is trusted, as a good client does."""
        sock = socket.create_connection((self.address, self.port), timeout=timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            sock = (tls or self.tls_context()).wrap_socket(sock, server_hostname=self.address)
        return Connection(sock, self.host)

    def request(self, method, target, headers=(), body=None):
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.request(method, target, headers, body)
