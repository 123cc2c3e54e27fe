"""The appliance's life in one boot after another, under software emulation: first boot and login on the console, Docker Engine against
both network cards, what a security reviewer looks at, the ways in which the registry must come back, and the plug pulled in the middle
of pushes. The tests go in the order of their numbers; each starts where the one before left the machine."""
import hashlib
import http.client
import random
import shutil
import ssl
import threading
import time
import unittest

from appliance.engine import Engine
from appliance.machine import NAT_ADDRESS, OUTPUT, PORT, STATIC_ADDRESS, Machine, in_sandbox, run, scratch_folder, wait_until

NEW_PASSWORD = 'violet-Ladder-93-cup'
BLOB_BYTES = 200_000
BACK_SECONDS = 300                      # a busy machine; an idle one needs 5 to 20


def fingerprint_of(pem):
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ':'.join(digest[i:i + 2] for i in range(0, 64, 2))


@unittest.skipUnless(in_sandbox(), 'needs root, for a network of its own (tests/support/sandbox.sh)')
class MachineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        disk = OUTPUT / 'output-virtualbox-iso' / 'orlop-registry-disk001.vmdk'
        if not disk.exists():
            raise AssertionError(f'{disk} is not there: tests/appliance/test_build.py builds it')
        # From 127.0.0.1, whose place QEMU's network gives to its gateway: a connection from the machine's own address would be ignored.
        for address in (NAT_ADDRESS, STATIC_ADDRESS):
            run('ip', 'route', 'add', 'local', f'{address}/32', 'dev', 'lo', 'src', '127.0.0.1')
        cls.folder = scratch_folder()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.machine = Machine(disk, cls.folder)
        # The key is how these tests look inside; it is handed over as an operator would.
        public = (cls.folder / 'key.pub').read_text().rsplit(' ', 1)[0]
        cls.machine.credentials['orlop.ssh-key'] = public
        cls.machine.start()
        cls.addClassCleanup(cls.machine.pull_the_plug)
        cls.engine = Engine(cls.folder / 'docker')
        cls.addClassCleanup(cls.engine.stop)
        cls.images = {}

    def answers(self):
        try:
            return self.request(STATIC_ADDRESS, 'GET', '/readyz', timeout=20)[0] == 200
        except OSError:
            return False

    def wait_back(self, what):
        """After a boot: the registry answers. The console says so some seconds later."""
        self.machine.wait_for(self.answers, 'the registry')
        print(f'# {what}: the registry answers after {time.monotonic() - self.machine.started:.0f} s', flush=True)

    def context(self):
        return ssl.create_default_context(cafile=str(self.folder / 'ca.crt'))

    def request(self, address, method, target, body=None, headers=None, timeout=60):
        connection = http.client.HTTPSConnection(address, PORT, timeout=timeout, context=self.context())
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def test_01_the_console_tells_all_that_is_needed(self):
        print(f'# first boot: ready after {self.machine.wait_ready():.0f} s', flush=True)
        text = self.machine.console_text()
        greeting = text[text.rindex('Orlop, a container registry'):]
        for line in (f'https://{NAT_ADDRESS}:{PORT}', f'https://{STATIC_ADDRESS}:{PORT}', 'SSH host key  SHA256:',
                     f'docker push {STATIC_ADDRESS}:{PORT}/IMAGE', 'orlop-setup'):
            self.assertIn(line, greeting)
        shown = self.machine.wait_console(r'Certificate   ([0-9A-F:]+)\n  \(SHA-256\)     ([0-9A-F:]+)$')
        served = ssl.get_server_certificate((STATIC_ADDRESS, PORT))
        self.assertEqual(shown[1] + shown[2], fingerprint_of(served))
        first = self.machine.wait_console(r'Log in as orlop with the password ([a-z0-9]{4}(-[a-z0-9]{4}){3}) ')
        type(self).first_password = first[1]

    def test_02_the_first_login_must_choose_a_password(self):
        machine, first = self.machine, self.first_password
        machine.type('', 'login:')
        machine.type('orlop', 'Password:')
        machine.type(first, 'Current password:')
        machine.type(first, 'New password:')
        machine.type(NEW_PASSWORD, 'Retype new password:')
        machine.type(NEW_PASSWORD, r'\$ ')
        machine.password = NEW_PASSWORD
        machine.type('echo it is $((6 * 7))', 'it is 42')
        machine.type('exit', 'login:')

    def test_03_docker_over_both_cards(self):
        run('curl', '-fsSk', f'https://{STATIC_ADDRESS}:{PORT}/ca.crt', '-o', self.folder / 'ca.crt')
        for number, address in enumerate((NAT_ADDRESS, STATIC_ADDRESS)):
            registry = f'{address}:{PORT}'
            self.engine.trust(registry, self.folder / 'ca.crt')
            self.images[f'team/app:{number}'] = self.engine.round_trip(registry, f'team/app:{number}', number, self)
        print(f'# first push and pull over both cards done {time.monotonic() - self.machine.started:.0f} s after power-on', flush=True)

    def test_04_what_runs_and_what_is_reachable(self):
        # The greeting forgets the first password within seconds after the login.
        said = self.machine.root(f'while grep -q {self.first_password} /run/issue.d/50-orlop.issue; do sleep 1; done' + '''
                ls /var/lib/orlop-appliance
                docker ps --format "{{.Names}} {{.Image}} {{.Ports}}"
                docker inspect --format "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.Config.User}}" registry
                echo "failed: $(systemctl --failed --no-legend | wc -l)"
                ss -Hltn | awk '{ print "listens " $4 }'
                stat -c "%u %a" /var/lib/orlop
                timedatectl show -p NTP --value
                systemctl is-enabled unattended-upgrades nftables systemd-timesyncd''')
        self.assertRegex(said, r'(?m)^registry orlop:\S+ .*0\.0\.0\.0:5000->5000/tcp')
        self.assertNotIn('first-password', said)
        self.assertIn('unless-stopped true [ALL] [no-new-privileges] 65532:65532', said)
        self.assertIn('failed: 0', said)
        listening = {line.split()[1] for line in said.splitlines() if line.startswith('listens')}
        outside = {where for where in listening if not where.startswith('127.0.0')}
        self.assertEqual({where.rpartition(':')[2] for where in outside}, {'22', '5000'})
        self.assertIn('65532 700', said)
        self.assertEqual(said.splitlines()[-4:], ['yes', 'enabled', 'enabled', 'enabled'])

    def test_05_ssh_is_closed_to_root_and_to_passwords(self):
        effective = self.machine.root('sshd -T')
        for line in ('permitrootlogin no', 'passwordauthentication no', 'kbdinteractiveauthentication no'):
            self.assertIn(line + '\n', effective)
        refused = run('ssh', '-i', self.machine.key, '-p', '22022', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null',
                      '-o', 'BatchMode=yes', 'root@127.0.0.1', 'true', check=False)
        self.assertEqual(refused.returncode, 255)
        self.assertIn('Permission denied (publickey)', refused.stderr)

    def test_06_another_published_port_stays_closed(self):
        """Docker opens what it publishes; the machine's firewall keeps it in."""
        rules = self.machine.root('nft list table inet orlop')
        self.assertIn('policy drop', rules)
        self.assertIn('tcp dport { 22, 5000 } accept', rules)
        self.assertIn('ct original proto-dst 5000 accept', rules)
        self.assertRegex(rules, r'iifname "eth\*" drop')

    def test_07_back_after_its_process_is_killed(self):
        process = self.machine.root('docker inspect --format "{{.State.Pid}}" registry').strip()
        self.machine.root(f'kill -9 {process}')
        wait_until(self.answers, BACK_SECONDS, 'the registry answers again')
        self.assertNotEqual(self.machine.root('docker inspect --format "{{.State.Pid}}" registry').strip(), process)

    def test_08_back_after_docker_restarts(self):
        self.machine.root('systemctl restart docker')
        wait_until(self.answers, BACK_SECONDS, 'the registry answers again')

    def test_09_all_is_there_after_a_reboot(self):
        self.machine.reboot()
        self.wait_back('reboot')
        for name, digest in self.images.items():
            reference = f'{STATIC_ADDRESS}:{PORT}/{name}'
            self.engine.remove(reference) if self.engine.docker('images', '-q', reference).strip() else None
            self.engine.pull_and_run(f'{STATIC_ADDRESS}:{PORT}', name, digest, self)
        self.machine.wait_ready()
        self.assertNotIn('with the password', self.machine.console_text()[self.machine.console_from:])

    def push_blobs(self, acknowledged, stop):
        """Blobs one after another, each noted only when the registry said 201."""
        source = random.Random(threading.get_ident())
        while not stop.is_set():
            data = source.randbytes(BLOB_BYTES)
            digest = f'sha256:{hashlib.sha256(data).hexdigest()}'
            try:
                status, _, headers = self.request(STATIC_ADDRESS, 'POST', f'/v2/plug/blobs/uploads/?digest={digest}', data,
                                                  {'Content-Type': 'application/octet-stream'})
            except OSError:
                return
            if status == 201:
                acknowledged.append(digest)

    def test_10_nothing_is_lost_when_the_plug_is_pulled(self):
        acknowledged, stop = [], threading.Event()
        threads = [threading.Thread(target=self.push_blobs, args=(acknowledged, stop)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) >= 30, BACK_SECONDS, '30 blobs are pushed')
        self.machine.pull_the_plug()
        stop.set()
        for thread in threads:
            thread.join()
        kept = list(acknowledged)
        self.machine.start()
        self.wait_back(f'{len(kept)} blobs were acknowledged when the plug was pulled')
        for digest in kept:
            status, data, _ = self.request(STATIC_ADDRESS, 'GET', f'/v2/plug/blobs/{digest}')
            self.assertEqual((status, f'sha256:{hashlib.sha256(data).hexdigest()}'), (200, digest))
        self.engine.remove(f'{STATIC_ADDRESS}:{PORT}/team/app:0')
        self.engine.pull_and_run(f'{STATIC_ADDRESS}:{PORT}', 'team/app:0', self.images['team/app:0'], self)


if __name__ == '__main__':
    unittest.main()
