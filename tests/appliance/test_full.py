"""The rest of the appliance's life, too slow for every run (./dev test appliance-full): EFI, settings at import, a larger disk, a disk for the
data that moves to another machine, updates that fail and updates that work, and a second build that is equal to the first."""
import hashlib
import http.client
import io
import json
import os
import shutil
import ssl
import subprocess
import tarfile
import unittest

from appliance.machine import BOOT_SECONDS, OUTPUT, PORT, ROOT, STATIC_ADDRESS, NAT_ADDRESS, Machine, in_sandbox, run, scratch_folder, wait_until

PASSWORD = 'brown-Fence-71-oar'
BLOB = b'what must not get lost\n' * 1000
DIGEST = f'sha256:{hashlib.sha256(BLOB).hexdigest()}'
OVF_ENVIRONMENT = '''<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" oe:id="registry">
  <PropertySection>
    <Property oe:key="address" oe:value="192.168.33.33/24"/>
    <Property oe:key="hostname" oe:value="depot-by-ovf"/>
    <Property oe:key="ssh-key" oe:value="{key}"/>
  </PropertySection>
</Environment>
'''


def request(method, target, body=None, headers=None, authority=None):
    context = ssl.create_default_context(cafile=authority) if authority else ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(STATIC_ADDRESS, PORT, timeout=60, context=context)
    try:
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def answers():
    try:
        return request('GET', '/readyz')[0] == 200
    except OSError:
        return False


def changed_image(source, target, change):
    """An image archive whose configuration is changed: {"Cmd": [...]}."""
    with tarfile.open(source) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers() if member.isfile()}
    listing = json.loads(files['manifest.json'])
    config = json.loads(files.pop(listing[0]['Config']))
    config['config'].update(change)
    listing[0].update(Config='changed.json', RepoTags=['orlop:changed'])
    files['changed.json'], files['manifest.json'] = json.dumps(config).encode(), json.dumps(listing).encode()
    with tarfile.open(target, 'w') as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@unittest.skipUnless(in_sandbox(), 'needs root, for a network of its own (tests/support/sandbox.sh)')
class FullTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for address in (NAT_ADDRESS, STATIC_ADDRESS):
            run('ip', 'route', 'add', 'local', f'{address}/32', 'dev', 'lo', 'src', '127.0.0.1')
        cls.folder = scratch_folder()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.data_disk = cls.folder / 'data.qcow2'
        run('qemu-img', 'create', '-q', '-f', 'qcow2', cls.data_disk, '4G')
        cls.attached = ['-drive', f'if=none,id=data,file={cls.data_disk}', '-device', 'virtio-blk-pci,drive=data']
        (cls.folder / 'first').mkdir()
        cls.machine = Machine(OUTPUT / 'output-virtualbox-iso' / 'orlop-registry.qcow2', cls.folder / 'first', firmware='efi', size='30G')
        cls.machine.credentials = {
            'orlop.ssh-key': cls.public_key(cls.machine), 'orlop.hostname': 'depot-by-smbios', 'orlop.address': f'{STATIC_ADDRESS}/25',
            'orlop.password-hash': run('mkpasswd', '--method=yescrypt', '--stdin', input=PASSWORD).strip()}
        cls.machine.password = PASSWORD
        cls.machine.start()
        cls.addClassCleanup(lambda: cls.machine.pull_the_plug())

    @staticmethod
    def public_key(machine):
        return (machine.folder / 'key.pub').read_text().rsplit(' ', 1)[0]

    def push(self):
        self.assertEqual(request('POST', f'/v2/kept/blobs/uploads/?digest={DIGEST}', BLOB, {'Content-Type': 'application/octet-stream'})[0], 201)

    def assert_kept(self):
        self.assertEqual(request('GET', f'/v2/kept/blobs/{DIGEST}', authority=self.folder / 'ca.crt'), (200, BLOB))

    def test_01_efi_settings_at_import_and_a_larger_disk(self):
        print(f'# EFI, first boot: ready after {self.machine.wait_ready():.0f} s', flush=True)
        self.assertNotIn('with the password', self.machine.console_text())
        said = self.machine.root('test -d /sys/firmware/efi && echo efi; hostname; ip -o -4 address show eth1; df --output=size -BG / | tail -n 1')
        self.assertIn('efi\ndepot-by-smbios\n', said)
        self.assertIn(f'{STATIC_ADDRESS}/25', said)
        self.assertGreater(int(said.split()[-1].rstrip('G')), 28)
        (self.folder / 'ca.crt').write_bytes(request('GET', '/ca.crt')[1])
        self.assertEqual(self.machine.root('cat /etc/orlop/registry/orlop.conf').count('depot-by-smbios'), 1)
        self.push()

    def test_02_an_empty_second_disk_becomes_the_storage(self):
        self.machine.power_off()
        self.machine.extra = self.attached
        self.machine.start()
        self.machine.wait_ready()
        self.assertIn('The second disk is the registry', self.machine.wait_console(r"! The second disk is the registry's storage now", 60)[0])
        self.assertEqual(self.machine.root('findmnt -no SOURCE,FSTYPE /var/lib/orlop').split(), ['/dev/vda', 'ext4'])
        self.assert_kept()

    def test_03_an_update_that_fails_goes_back(self):
        image = ROOT / 'build' / 'image' / 'orlop-docker.tar'
        before = self.machine.root('docker inspect --format "{{.Image}}" registry')
        for change in ({'Cmd': ['version']}, {'Cmd': ['serve', '--no-such-option']}):
            changed_image(image, self.folder / 'changed.tar', change)
            self.copy_in('changed.tar')
            done = self.machine.root('orlop-update /tmp/changed.tar', check=False)
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn('does not become ready', done.stderr)
            self.assertEqual(self.machine.root('docker inspect --format "{{.Image}}" registry'), before)
            self.assertEqual(self.machine.root('ls -A /var/lib/orlop-appliance /var/lib/orlop').count('update'), 0)
            wait_until(answers, 300, 'the registry answers')
            self.assert_kept()

    def test_04_what_is_no_image_of_ours_is_refused(self):
        (self.folder / 'nonsense.tar').write_bytes(b'nonsense' * 1000)
        self.copy_in('nonsense.tar')
        self.assertEqual(self.machine.root('orlop-update /tmp/nonsense.tar', check=False).returncode, 1)
        changed_image(ROOT / 'build' / 'image' / 'orlop-docker.tar', self.folder / 'stranger.tar', {'Labels': {}})
        self.copy_in('stranger.tar')
        self.assertIn("not Orlop's", self.machine.root('orlop-update /tmp/stranger.tar', check=False).stderr)
        self.assertTrue(answers())

    def test_05_an_update_that_works_stays_and_can_be_taken_back(self):
        before = self.machine.root('docker inspect --format "{{.Image}}" registry')
        changed_image(ROOT / 'build' / 'image' / 'orlop-docker.tar', self.folder / 'newer.tar', {'Env': [
            'PATH=/usr/bin', 'ORLOP_DATA=/data', 'ORLOP_LISTEN=0.0.0.0:5000', 'SQLITE_TMPDIR=/data', 'NEWER=yes']})
        self.copy_in('newer.tar')
        self.machine.root('orlop-update /tmp/newer.tar')
        self.assertNotEqual(self.machine.root('docker inspect --format "{{.Image}}" registry'), before)
        self.assertIn('NEWER=yes', self.machine.root('docker inspect --format "{{.Config.Env}}" registry'))
        self.assert_kept()
        self.machine.root('orlop-update back')
        self.assertEqual(self.machine.root('docker inspect --format "{{.Image}}" registry'), before)
        self.assert_kept()

    def test_06_the_menu_over_the_serial_port(self):
        machine, down, back, enter = self.machine, '\x1b[B', '\x7f', '\r'
        # As a terminal does: after a login with another end of the line, the Enter key would not be one.
        machine.press(enter, 'login:')
        machine.press('orlop' + enter, 'Password:')
        machine.press(PASSWORD + enter, r'\$ ')
        machine.press('sudo orlop-setup' + enter, 'password for orlop')
        machine.press(PASSWORD + enter, '<Leave>')
        machine.press(enter, r'Registry:     ready(.*\n)+.*goes back')
        machine.press(enter, '<Leave>')
        machine.press(down * 2 + enter, '<Cancel>')
        machine.press(back * 30 + 'no_name' + enter, r'a host name has letters, digits and hyphens(.*\n)+.*goes back')
        machine.press(enter, '<Leave>')
        machine.press(down * 2 + enter, '<Cancel>')
        machine.press(back * 30 + 'renamed' + enter, r'Done(.*\n)+.*goes back')
        self.assertEqual(machine.root('hostname; cat /etc/hostname'), 'renamed\nrenamed\n')
        machine.press(enter, '<Leave>')
        machine.press('\t\t' + enter, r'\$ ')
        machine.press('exit' + enter, 'login:')

    def test_07_what_a_power_cut_spoils_is_made_again(self):
        """Files that Docker had not written out are empty: of the image, then of Docker itself. The boot unit's work, without a boot."""
        def spoil(script):
            self.machine.root('systemctl stop orlop-registry docker.socket docker containerd\n' + script +
                              '\nsystemctl --no-block start docker orlop-registry')
            wait_until(answers, BOOT_SECONDS, 'the registry answers again')
            self.assert_kept()
            self.machine.root('until systemctl is-active orlop-registry; do sleep 2; done', seconds=BOOT_SECONDS)

        spoil('find /var/lib/docker/overlay2 -path "*/diff/*" -name "libc.so*" -exec truncate -s 0 {} +')
        self.assertFalse(self.machine.root('ls -d /var/lib/docker.broken', check=False).stdout)
        spoil('truncate -s 0 /var/lib/docker/image/overlay2/repositories.json')
        self.assertTrue(self.machine.root('ls /var/lib/docker.broken'))
        self.machine.wait_console('Docker did not start with what it had stored')

    def copy_in(self, name):
        with open(self.folder / name, 'rb') as file:
            subprocess.run([str(word) for word in self.machine.ssh_command(f'cat >/tmp/{name}')], stdin=file, check=True, timeout=600)

    def test_08_a_missing_data_disk_keeps_the_registry_off(self):
        self.machine.power_off()
        self.machine.extra = []
        self.machine.start()
        self.machine.wait_console('! The data disk is not attached')
        self.assertFalse(answers())
        self.machine.power_off()

    def test_09_another_machine_adopts_the_disk(self):
        """From a SCSI disk by BIOS, with its settings from an OVF import."""
        folder = self.folder / 'second'
        folder.mkdir()
        machine = Machine(OUTPUT / 'output-virtualbox-iso' / 'orlop-registry-disk001.vmdk', folder, controller='scsi-hd')
        (folder / 'cd').mkdir()
        (folder / 'cd' / 'ovf-env.xml').write_text(OVF_ENVIRONMENT.format(key=self.public_key(machine)))
        run('genisoimage', '-quiet', '-J', '-R', '-o', folder / 'ovf.iso', folder / 'cd')
        machine.extra = [*self.attached, '-cdrom', str(folder / 'ovf.iso')]
        type(self).machine = machine.start()
        machine.wait_ready()
        self.assertEqual(machine.ssh('hostname').strip(), 'depot-by-ovf')
        # The authority came with the disk: clients that trust the first machine trust this one.
        self.assert_kept()
        machine.pull_the_plug()


class EqualTest(unittest.TestCase):
    def test_two_builds_of_the_same_packages_are_equal(self):
        folder = scratch_folder()
        self.addCleanup(shutil.rmtree, folder)
        sums = []
        for number in range(2):
            run(ROOT / 'create-docker-registry-ovf.sh', seconds=1800,
                env={**os.environ, 'OUTPUT': str(folder / str(number)), 'PACKAGE_CACHE': str(folder / 'cache')})
            sums.append([(folder / str(number) / name / 'SHA256SUMS').read_text() for name in ('output-virtualbox-iso', 'vagrant')])
        self.assertEqual(*sums)


if __name__ == '__main__':
    unittest.main()
