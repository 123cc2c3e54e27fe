"""The commands beside serve, and what serve does to its own process: orlop check, trust, health, help; a second signal, another
user's data folder, few descriptors, idle memory."""
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from support.commands import run_orlop
from support.daemon import Daemon, binary, free_port

MIB = 1 << 20


def stopped_store(folder, *flags, tls=True):
    """A data folder that a daemon has used."""
    with Daemon(*flags, tls=tls, data=folder) as orlop:
        orlop.request('POST', '/v2/a/blobs/uploads/')
    return folder


def contents(folder):
    """All files with their bytes, and the folders; the lock tells who held it last, SQLite's own files come and go."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path(folder).rglob('*')
            if path.name != 'lock' and not path.name.startswith('orlop.db-')}


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix='orlop-check-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.folder / 'data'
        self.port = free_port()

    def check(self, *flags):
        return run_orlop('check', '--data', self.data, '--listen', f'127.0.0.1:{self.port}', *flags)

    def assert_good(self, run):
        self.assertEqual((run.returncode, run.stderr), (0, ''), run.stdout + run.stderr)
        self.assertNotIn('wrong', run.stdout)

    def assert_wrong(self, run, what):
        """It says what, and the mend."""
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertRegex(run.stdout, rf'(?m)^wrong  .*{what}.*\n       mend: \S')
        self.assertRegex(run.stdout, r'\d+ things? (is|are) wrong\n$')

    def test_nothing_yet(self):
        self.assert_good(self.check())
        self.assertFalse(self.data.exists())

    def test_a_stopped_store_is_left_as_it_is(self):
        stopped_store(self.data)
        before = contents(self.data)
        self.assert_good(self.check())
        self.assertEqual(contents(self.data), before)

    def test_a_running_store(self):
        with Daemon(tls=True, data=self.data) as orlop:
            self.assert_good(run_orlop('check', '--data', self.data, '--listen', orlop.listen_flag()))
            self.assertEqual(orlop.request('GET', '/readyz').status, 200)

    def test_settings_that_are_wrong(self):
        self.assert_wrong(self.check('--max-page', '0'), '--max-page: "0" is not in range: allowed is 1 to 10000')
        config = self.folder / 'orlop.conf'
        config.write_text('[limits]\n\nmax-pge = 3\n')
        self.assert_wrong(self.check('--config', config), f'{config}:3: there is no setting "max-pge"; the nearest is "max-page"')
        self.assert_wrong(self.check('--config', '/nowhere'), '/nowhere')

    def test_an_address_in_use(self):
        with socket.socket() as other:
            other.bind(('127.0.0.1', self.port))
            other.listen()
            self.assert_wrong(self.check(), f'127.0.0.1:{self.port} is in use')

    def test_a_damaged_authority(self):
        stopped_store(self.data)
        (self.data / 'tls' / 'ca.key').write_text('rubbish')
        self.assert_wrong(self.check(), 'ca.key is damaged')

    def test_a_damaged_database(self):
        stopped_store(self.data, tls=False)
        path = self.data / 'orlop.db'
        data = bytearray(path.read_bytes())
        data[100:] = os.urandom(len(data) - 100)
        path.write_bytes(data)
        self.assert_wrong(self.check('--tls', 'off'), 'database')

    def test_a_store_of_a_newer_program(self):
        stopped_store(self.data, tls=False)
        with sqlite3.connect(self.data / 'orlop.db') as db:
            db.execute('PRAGMA user_version = 9999')
        db.close()
        self.assert_wrong(self.check('--tls', 'off'), 'newer version')

    def test_certificates_of_the_users_own(self):
        cert, key, other = (self.folder / name for name in ('a.crt', 'a.key', 'b.key'))
        for path, days in ((key, 90), (other, 90), (key, 3)):
            subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-subj', '/CN=x',
                            '-keyout', path, '-out', cert, '-days', str(days)], check=True, capture_output=True)
            if path == key and days > 30:
                self.assert_good(self.check('--tls', 'files', '--tls-cert', cert, '--tls-key', key))
        self.assert_wrong(self.check('--tls', 'files', '--tls-cert', cert, '--tls-key', key), 'ends in [23] days')
        self.assert_wrong(self.check('--tls', 'files', '--tls-cert', cert, '--tls-key', other), 'does not belong')
        self.assert_wrong(self.check('--tls', 'files', '--tls-cert', cert, '--tls-key', '/nowhere/key'), '/nowhere/key')

    def test_a_data_folder_that_is_a_file(self):
        self.data.write_text('')
        self.assert_wrong(self.check(), 'no folder')


class TrustTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.orlop = Daemon('--name', 'registry.example.org', tls=True).start()

    @classmethod
    def tearDownClass(cls):
        cls.orlop.stop()
        cls.orlop.clean()

    def trust(self, *arguments):
        return run_orlop('trust', '--data', self.orlop.data, *arguments)

    def test_it_is_a_script_that_holds_the_authority(self):
        run = self.trust('registry.example.org')
        self.assertEqual(run.returncode, 0, run.stderr)
        address = f'registry.example.org:{self.orlop.port}'
        for path in ('/etc/docker', '/etc/containers', '/etc/containerd'):
            self.assertIn(f"'{path}/certs.d/{address}/ca.crt'", run.stdout)
        authority = self.orlop.authority.read_text()
        fingerprint = subprocess.run(['openssl', 'x509', '-noout', '-fingerprint', '-sha256'], input=authority, text=True,
                                     capture_output=True, check=True).stdout.strip().partition('=')[2]
        self.assertIn(fingerprint, run.stdout)
        shell = subprocess.run(['sh', '-c', run.stdout.partition('# Docker')[0] + 'printf "%s\\n" "$ca"'], capture_output=True, text=True)
        self.assertEqual(shell.stdout, authority)
        self.assertEqual(subprocess.run(['sh', '-n'], input=run.stdout, text=True).returncode, 0)

    def test_addresses(self):
        port = self.orlop.port
        for given, address in ((), f'registry.example.org:{port}'), (('192.0.2.9',), f'192.0.2.9:{port}'), \
                (('192.0.2.9:443',), '192.0.2.9:443'), (('2001:db8::1',), f'[2001:db8::1]:{port}'), (('[::1]:7',), '[::1]:7'):
            run = self.trust('--name', 'registry.example.org', *given)
            self.assertIn(f'/certs.d/{address}/ca.crt', run.stdout, given)
        for wrong in ('https://a', 'a b', "a';reboot;'", '[::1', '', ':5000', "unix:/x';reboot;'", 'x' * 400):
            run = self.trust(wrong)
            self.assertEqual((run.returncode, run.stdout), (2, ''), wrong)

    def test_notes(self):
        self.assertIn('--name other.example', self.trust('other.example').stdout)
        self.assertNotIn('--name', self.trust('registry.example.org').stdout)
        self.assertIn('own machine only', self.trust().stdout)

    def test_without_an_authority(self):
        self.assertEqual(self.trust('--tls', 'off').returncode, 1)
        run = run_orlop('trust', '--data', '/nowhere')
        self.assertEqual(run.returncode, 1)
        self.assertIn('orlop serve', run.stderr)


class HealthTest(unittest.TestCase):
    def test_running_and_stopped(self):
        for tls in (True, False):
            with Daemon(tls=tls) as orlop:
                run = run_orlop('health', '--data', orlop.data)
                self.assertEqual((run.returncode, run.stderr), (0, ''))
                self.assertIn('200 ready', run.stdout)
                self.assertEqual(run_orlop('health', env={'ORLOP_DATA': str(orlop.data)}).returncode, 0)
                orlop.kill()
                run = run_orlop('health', '--data', orlop.data)
                self.assertEqual(run.returncode, 1)
                self.assertIn('nobody answers', run.stderr)
                orlop.start()

    def test_it_never_ran(self):
        run = run_orlop('health', '--data', '/nowhere')
        self.assertEqual((run.returncode, run.stdout), (1, ''))

    def test_one_that_does_not_answer(self):
        with Daemon() as orlop:
            orlop.process.send_signal(signal.SIGSTOP)
            try:
                run = run_orlop('health', '--data', orlop.data)
            finally:
                orlop.process.send_signal(signal.SIGCONT)
            self.assertEqual(run.returncode, 1)
            self.assertIn('does not answer in time', run.stderr)


class ProcessTest(unittest.TestCase):
    @staticmethod
    def resident(orlop):
        status = Path(f'/proc/{orlop.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', status)[1]) << 10

    def test_a_second_signal_ends_it_at_once(self):
        with Daemon('--body-rate', '0') as orlop:
            connection = orlop.connect()
            place = connection.request('POST', '/v2/a/blobs/uploads/')['Location']
            connection.send(connection.head('PATCH', place, [('Content-Length', 1000)]) + b'x')
            time.sleep(0.2)
            orlop.process.send_signal(signal.SIGTERM)
            orlop.wait_log('stopping')
            time.sleep(0.2)
            self.assertIsNone(orlop.process.poll())
            start = time.monotonic()
            orlop.process.send_signal(signal.SIGTERM)
            self.assertEqual(orlop.process.wait(10), 130)
            self.assertLess(time.monotonic() - start, 2)
            connection.close()
            orlop.start()

    @unittest.skipIf(os.geteuid(), 'needs root')
    def test_root_becomes_the_owner_of_the_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            data = Path(folder, 'data')
            data.mkdir()
            os.chown(data, 65534, 65534)
            with Daemon(data=data) as orlop:
                orlop.request('POST', '/v2/a/blobs/uploads/')
                status = Path(f'/proc/{orlop.process.pid}/status').read_text()
                self.assertEqual(set(re.findall(r'^[UG]id:\t(.*)$', status, re.M)), {'65534\t65534\t65534\t65534'})
                self.assertEqual({path.stat().st_uid for path in data.rglob('*')}, {65534})
            self.assertEqual(run_orlop('check', '--tls', 'off', '--listen', '127.0.0.1:0', '--data', data).returncode, 0)
            self.assertEqual({path.stat().st_uid for path in data.rglob('*')}, {65534})

    def test_few_descriptors(self):
        with Daemon(prefix=['prlimit', '--nofile=600:600']) as orlop:
            orlop.wait_log('warn fewer connections than --max-connections')
            connections = [orlop.connect() for _ in range(400)]
            self.assertEqual(orlop.request('GET', '/readyz').status, 200)
            for connection in connections:
                connection.close()

    def test_without_standard_files(self):
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            process = subprocess.Popen(['sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh', binary(), 'serve', '--tls', 'off', '--data', folder,
                                        '--listen', f'127.0.0.1:{port}'])
            deadline = time.monotonic() + 30
            while run_orlop('health', '--data', folder).returncode and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertEqual({os.readlink(f'/proc/{process.pid}/fd/{number}') for number in range(3)}, {'/dev/null'})
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)

    def test_idle_memory(self):
        """What the start took is given back: 6 MiB at most are resident after a while (docs/performance.md has the figures)."""
        with Daemon(tls=True, env={'MALLOC_PERTURB_': '0'}) as orlop:  # the test runner sets it, and it touches all that is allocated
            maps = Path(f'/proc/{orlop.process.pid}/maps').read_text()
            if re.search('lib[at]san|libubsan', maps):
                self.skipTest('a sanitizer has memory of its own')
            deadline = time.monotonic() + 30
            while self.resident(orlop) > 6 * MIB and time.monotonic() < deadline:
                time.sleep(0.5)
            self.assertLess(self.resident(orlop), 6 * MIB)
            self.assertEqual(orlop.request('GET', '/readyz').status, 200)


class HelpTest(unittest.TestCase):
    def test_every_command_has_help(self):
        names = re.findall(r'^  ([a-z]+) ', run_orlop('help').stdout, re.M)
        self.assertGreaterEqual(set(names), {'serve', 'check', 'trust', 'health', 'version', 'help'})
        for name in names:
            for arguments in (('help', name), (name, '--help')):
                run = run_orlop(*arguments)
                self.assertEqual((run.returncode, run.stderr), (0, ''))
                self.assertIn(f'usage: orlop {name}', run.stdout)

    def test_the_sample_file_is_accepted(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, 'orlop.conf')
            config.write_text(run_orlop('help', '--sample').stdout)
            run = run_orlop('check', '--config', config, '--data', f'{folder}/data', '--listen', '127.0.0.1:0')
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    @unittest.skipUnless(shutil.which('groff'), 'needs groff')
    def test_the_man_page_is_sound(self):
        run = subprocess.run(['groff', '-man', '-Tutf8', '-ww', '-z'], input=run_orlop('help', '--man').stdout, capture_output=True,
                             text=True)
        self.assertEqual((run.returncode, run.stderr), (0, ''))
