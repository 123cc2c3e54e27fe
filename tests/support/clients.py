"""What the tests of real clients share: the sandbox (sandbox.sh), a registry with TLS whose authority is trusted as the README
says, images to push, and commands that must succeed."""
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from support.daemon import Daemon, binary
from support.image import PAYLOAD_SHA, Layout, root_layers
from support.registry import Registry

HOST = 'registry.test:5000'
COMMAND_SECONDS = 300


def in_sandbox():
    return os.environ.get('TEST_SANDBOX') == 'yes'


class CommandFailed(AssertionError):
    pass


def run(*command, check=True, **more):
    """The command's standard output. A failure shows all that it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=COMMAND_SECONDS,
                          stdin=subprocess.DEVNULL, **more)
    if check and done.returncode:
        raise CommandFailed(f'{" ".join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout if check else done


class Service:
    """A daemon of the clients' side: started, waited for, stopped."""

    def __init__(self, command, log, ready, seconds=60):
        with open(log, 'wb') as file:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        deadline = time.monotonic() + seconds
        while run(*ready, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f'{command[0]} did not start:\n{Path(log).read_text(errors="replace")[-3000:]}')
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@unittest.skipUnless(in_sandbox(), 'container engines need root and namespaces of their own (tests/support/sandbox.sh)')
class ClientTest(unittest.TestCase):
    """A registry at registry.test:5000 and localhost:5000, and an image layout to push from."""
    programs = ()

    @classmethod
    def setUpClass(cls):
        missing = [program for program in cls.programs if not shutil.which(program)]
        if missing:
            raise unittest.SkipTest(f'not installed: {" ".join(missing)}')
        # buildah makes an image's name of it, which must not have the underscores that mkdtemp may put at the end.
        cls.folder = Path(tempfile.gettempdir(), f'orlop-clients-{os.urandom(8).hex()}')
        cls.folder.mkdir(mode=0o700)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.orlop = Daemon('--listen', '127.0.0.1:5000', '--name', 'registry.test', tls=True, address='192.0.2.10', port=5000).start()
        cls.addClassCleanup(cls.stop_registry)
        cls.trust()
        cls.layout = Layout(cls.folder / 'layout')
        cls.image = cls.layout.tag(cls.layout.image(root_layers()), 'app')

    @classmethod
    def trust(cls):
        """What the README says: the script that orlop trust prints. Without its last part, which makes the whole machine trust the
        registry: then a client would find the authority even where its own place for it is wrong."""
        script = run(binary(), 'trust', '--data', cls.orlop.data, HOST)
        parts = script.partition('# Everything else')
        assert parts[1], script
        run('sh', '-euc', parts[0])

    @classmethod
    def stop_registry(cls):
        try:
            cls.orlop.stop()
        finally:
            cls.orlop.clean()

    def setUp(self):
        self.registry = Registry(self.orlop)
        self.addCleanup(self.registry.close)

    def digest(self, repository, tag):
        answer = self.registry.manifest(repository, tag, 'HEAD')
        self.assertEqual(answer.status, 200)
        return answer['Docker-Content-Digest']

    def assert_ran(self, output):
        """The container found its data unharmed."""
        self.assertIn(PAYLOAD_SHA, output)

    def assert_clean_log(self):
        self.assertNotRegex(self.orlop.log(), re.compile(r'^\S+ error', re.MULTILINE))
