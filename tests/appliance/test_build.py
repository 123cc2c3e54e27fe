"""The script that builds the appliance: settings that it refuses, and what it writes."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
import unittest
from pathlib import Path

from appliance.machine import OUTPUT, ROOT, run, scratch_folder, wait_until

SCRIPT = ROOT / 'create-docker-registry-ovf.sh'
OVA_BYTES_MAX = 230_000_000
BUILD_SECONDS_MAX = 1800                # a limit against hanging; the time that it took is printed
SCHEMA = Path(__file__).parent / 'ovf-schemas' / 'ovf-envelope.xsd'
ROOT_OFFSET = 18 << 20                  # where the root file system starts on the disk (appliance/build/disk.sh)


def sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def ova_folder():
    return OUTPUT / 'output-virtualbox-iso'


class SettingsTest(unittest.TestCase):
    def test_wrong_values_are_refused_at_once(self):
        rows = [
            ('IP_ADDRESS', '192.168.33', 'IPv4 address'), ('IP_ADDRESS', '192.168.33.256', 'IPv4 address'),
            ('IP_ADDRESS', '192.168.33.3/33', 'prefix length'), ('IP_ADDRESS', '127.0.0.1', 'no machine'), ('IP_ADDRESS', '', 'IPv4 address'),
            ('IP_ADDRESS', '010.0.0.1', 'IPv4 address'), ('IP_ADDRESS', '10.0.0.0/8', "network's own"), ('IP_ADDRESS', '10.0.0.63/26', 'broadcast'),
            ('USERNAME', '', 'USERNAME is empty'), ('USERNAME', 'Big', 'small letters'), ('USERNAME', 'root', 'the system has'),
            ('USERNAME', 'www-data', 'the system has'), ('USERNAME', 'sudo', 'the system has'),
            ('USERNAME', 'a b', 'small letters'), ('USERNAME', 'x' * 33, '32 at most'),
            ('PASSWORD', 'has:a-colon', 'colon'), ('PASSWORD', 'two\nlines-of-it', 'control character'), ('PASSWORD', 'short', 'shorter'),
            ('PASSWORD', 'x' * 201, 'longer'), ('PASSWORD_CHANGE', 'maybe', 'true or false'), ('SSH_PASSWORD', 'yes', 'true or false'),
            ('HOSTNAME', 'under_score', 'letters, digits'), ('HOSTNAME', 'x' * 64, '63'), ('HOSTNAME', '', 'letters, digits'),
            ('SSH_AUTHORIZED_KEY', 'ssh-rsa', 'no public key'), ('SSH_AUTHORIZED_KEY', "ssh-rsa " + 'A' * 50 + " it's", 'no public key'),
            ('MEMORY_MB', '64', '512'), ('CPUS', '0', '1 to 64'), ('CPUS', 'two', '1 to 64'), ('DISK_GB', '1', '4 to'),
            ('DISK_GB', '99999999999', '4 to'), ('REGISTRY_PORT', '65536', '65535'), ('REGISTRY_PORT', '22', 'ssh'),
            ('DEBIAN_RELEASE', 'sarge', 'trixie'), ('REGISTRY_IMAGE', '/nowhere/image.tar', 'no file'), ('MIRROR', 'deb.debian.org', 'http'),
            ('SECURITY_MIRROR', 'http://a b', 'http'), ('OUTPUT', '/proc/none', 'cannot be written'), ('OUTPUT', "/tmp/it's", 'quote'),
            ('PACKAGE_CACHE', '/proc/none', 'cannot be written'), ('START_VIRTUALBOX_LOCALLY', '1', 'true or false'),
        ]
        for name, value, want in rows:
            with self.subTest(name=name, value=value):
                started = time.monotonic()
                done = subprocess.run([SCRIPT], env={**os.environ, name: value}, capture_output=True, text=True, timeout=20, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn(want, done.stderr)
                self.assertEqual(done.stderr.strip().count('\n'), 0)
                self.assertLess(time.monotonic() - started, 5)

    @unittest.skipIf(shutil.which('VBoxManage'), 'VirtualBox is installed here')
    def test_without_virtualbox_it_says_so_before_building(self):
        done = subprocess.run([SCRIPT], env={**os.environ, 'START_VIRTUALBOX_LOCALLY': 'true'}, capture_output=True, text=True,
                              timeout=20, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('no VBoxManage', done.stderr)

    def test_a_failure_leaves_nothing_behind(self):
        """An image that is none: the step fails, what was there stays, and the scratch files go."""
        folder = scratch_folder()
        self.addCleanup(shutil.rmtree, folder)
        (folder / 'out' / 'vagrant').mkdir(parents=True)
        (folder / 'tmp').mkdir()
        env = {**os.environ, 'OUTPUT': str(folder / 'out'), 'TMPDIR': str(folder / 'tmp'), 'REGISTRY_IMAGE': '/dev/null',
               'MIRROR': 'file:/nowhere', 'SECURITY_MIRROR': 'file:/nowhere'}
        (folder / 'image').touch()
        env['REGISTRY_IMAGE'] = str(folder / 'image')
        done = subprocess.run([SCRIPT], env=env, capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn('failed after', done.stderr)
        self.assertEqual([path.name for path in (folder / 'out').iterdir()], ['vagrant'])
        self.assertEqual(list((folder / 'tmp').iterdir()), [])

    def test_ctrl_c_leaves_nothing_behind(self):
        """In the midst of making the tree, whose half is there."""
        folder = scratch_folder()
        self.addCleanup(shutil.rmtree, folder)
        for name in ('out', 'tmp'):
            (folder / name).mkdir()
        (folder / 'image').touch()
        env = {**os.environ, 'OUTPUT': str(folder / 'out'), 'TMPDIR': str(folder / 'tmp'), 'REGISTRY_IMAGE': str(folder / 'image')}
        # Python hands on SIGINT as ignored to what runs in the background of a shell: set right for the script.
        build = subprocess.Popen([SCRIPT], env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.addCleanup(build.stderr.close)
        wait_until(lambda: build.poll() is not None or list(folder.glob('tmp/*/mmdebstrap.*/var/lib/dpkg')), 300, 'the tree is begun')
        self.assertIsNone(build.poll())
        os.killpg(build.pid, signal.SIGINT)
        self.assertEqual(build.wait(60), 130)
        self.assertIn('scratch files are removed', build.stderr.read())
        self.assertEqual([*(folder / 'out').iterdir(), *(folder / 'tmp').iterdir()], [])

    @unittest.skipUnless(shutil.which('packer'), 'packer is not installed')
    def test_packer_accepts_the_template(self):
        folder = scratch_folder()
        self.addCleanup(shutil.rmtree, folder)
        (folder / 'debian.iso').touch()
        run(ROOT / 'appliance' / 'packer.sh', 'validate', '-var', f'iso_url={folder}/debian.iso', '-var', f'iso_checksum=sha256:{"0" * 64}')
        with self.assertRaises(AssertionError):
            run(ROOT / 'appliance' / 'packer.sh', 'validate', '-var', f'iso_url={folder}/debian.iso', '-var', 'iso_checksum=nonsense')


class BuildTest(unittest.TestCase):
    """TEST_APPLIANCE_KEEP=yes takes what an earlier run built."""

    @classmethod
    def setUpClass(cls):
        if os.environ.get('TEST_APPLIANCE_KEEP') != 'yes' or not (OUTPUT / 'vagrant').exists():
            started = time.monotonic()
            before = cls.package_lists()
            run(SCRIPT, seconds=BUILD_SECONDS_MAX, env={**os.environ, 'OUTPUT': str(OUTPUT)})
            assert cls.package_lists() == before, "the build touched this computer's package lists"
            print(f'# built in {time.monotonic() - started:.0f} s', flush=True)

    @staticmethod
    def package_lists():
        """When this computer's own were changed last."""
        lists = Path('/var/lib/apt/lists')
        return {path: path.stat().st_mtime_ns for path in (lists, *lists.glob('*'))}

    def test_the_manifest_has_the_digests(self):
        lines = (ova_folder() / 'orlop-registry.mf').read_text().splitlines()
        self.assertEqual([re.match(r'SHA256\((.*)\)', line)[1] for line in lines], ['orlop-registry.ovf', 'orlop-registry-disk001.vmdk'])
        for line in lines:
            name, digest = re.fullmatch(r'SHA256\((.*)\)= ([0-9a-f]{64})', line).groups()
            self.assertEqual(sha256(ova_folder() / name), digest)

    def test_the_checksums_are_right(self):
        for folder in (ova_folder(), OUTPUT / 'vagrant'):
            names = [line.split()[1] for line in (folder / 'SHA256SUMS').read_text().splitlines()]
            self.assertEqual(sorted(names), sorted(path.name for path in folder.iterdir() if path.name != 'SHA256SUMS'))
            run('sha256sum', '--check', '--strict', 'SHA256SUMS', cwd=folder)

    def test_the_descriptor_is_ovf(self):
        run('xmllint', '--nonet', '--noout', '--schema', SCHEMA, ova_folder() / 'orlop-registry.ovf')
        text = (ova_folder() / 'orlop-registry.ovf').read_text()
        vmdk = ova_folder() / 'orlop-registry-disk001.vmdk'
        self.assertIn(f'ovf:size="{vmdk.stat().st_size}"', text)
        self.assertIn(f'ovf:capacity="{20 << 30}"', text)

    def test_the_ova_is_as_importers_want_it(self):
        ova = ova_folder() / 'orlop-registry.ova'
        self.assertLess(ova.stat().st_size, OVA_BYTES_MAX)
        print(f'# the OVA has {ova.stat().st_size / 1e6:.0f} MB', flush=True)
        with open(ova, 'rb') as file:
            self.assertEqual(file.read(265)[257:265], b'ustar\x0000')
        with tarfile.open(ova) as archive:
            members = archive.getmembers()
            self.assertEqual([member.name for member in members],
                             ['orlop-registry.ovf', 'orlop-registry.mf', 'orlop-registry-disk001.vmdk'])
            self.assertFalse(any(member.pax_headers or member.uid or member.gid for member in members))
            for member in members:
                self.assertEqual(hashlib.file_digest(archive.extractfile(member), 'sha256').hexdigest(), sha256(ova_folder() / member.name))

    def test_the_disks_are_of_their_formats(self):
        for name, form in (('orlop-registry-disk001.vmdk', 'vmdk'), ('orlop-registry.qcow2', 'qcow2')):
            told = json.loads(run('qemu-img', 'info', '--output=json', ova_folder() / name))
            self.assertEqual((told['format'], told['virtual-size']), (form, 20 << 30))
        self.assertIn('streamOptimized', run('qemu-img', 'info', ova_folder() / 'orlop-registry-disk001.vmdk'))
        run('qemu-img', 'compare', ova_folder() / 'orlop-registry-disk001.vmdk', ova_folder() / 'orlop-registry.qcow2')

    def test_the_boxes_are_as_vagrant_wants_them(self):
        listing = json.loads((OUTPUT / 'vagrant' / 'metadata.json').read_text())
        self.assertEqual(listing['name'], 'orlop-registry')
        providers = {entry['name']: entry for entry in listing['versions'][0]['providers']}
        files = {'virtualbox': ['metadata.json', 'Vagrantfile', 'box.ovf', 'box-disk001.vmdk'],
                 'libvirt': ['metadata.json', 'Vagrantfile', 'box.img']}
        self.assertEqual(sorted(providers), sorted(files))
        for name, entry in providers.items():
            box = OUTPUT / 'vagrant' / entry['url']
            self.assertEqual((entry['checksum_type'], entry['checksum']), ('sha256', sha256(box)))
            with tarfile.open(box) as archive:
                self.assertEqual(archive.getnames(), files[name])
                inner = json.load(archive.extractfile('metadata.json'))
            self.assertEqual(inner['provider'], name)
        self.assertEqual((inner['format'], inner['virtual_size']) if name == 'libvirt' else ('qcow2', 20), ('qcow2', 20))
        self.assertIn('ip: "192.168.33.33", netmask: "255.255.255.0"', (OUTPUT / 'vagrant' / 'Vagrantfile').read_text())


class ImageTest(unittest.TestCase):
    """What is on the disk that users get: read from the disk itself."""

    @classmethod
    def setUpClass(cls):
        cls.folder = scratch_folder()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.files = cls.unpack(ova_folder() / 'orlop-registry-disk001.vmdk', 'machine')
        run('tar', '-xf', OUTPUT / 'vagrant' / 'orlop-registry_libvirt.box', '-C', cls.folder, 'box.img')
        cls.box = cls.unpack(cls.folder / 'box.img', 'box')

    @classmethod
    def unpack(cls, disk, name):
        raw = cls.folder / f'{name}.raw'
        run('qemu-img', 'convert', '-O', 'raw', disk, raw)
        if name == 'machine':
            cls.programs = cls.with_rights(raw)
        target = cls.folder / name
        target.mkdir()
        for folder in ('etc', 'home', 'root', 'var', 'usr/lib/orlop-appliance', 'usr/share/orlop-appliance', 'boot', 'usr/local'):
            (target / folder).parent.mkdir(parents=True, exist_ok=True)
            done = run('debugfs', '-R', f'rdump /{folder} {(target / folder).parent}', f'{raw}?offset={ROOT_OFFSET}', check=False)
            assert (target / folder).exists(), done.stderr
        raw.unlink()
        return target

    @staticmethod
    def with_rights(raw):
        """The files under /usr that run with their owner's or their group's rights."""
        found, folders = set(), ['/usr']
        while folders:
            listing = run('debugfs', '-f', '-', f'{raw}?offset={ROOT_OFFSET}', input=''.join(f'ls -p "{folder}"\n' for folder in folders))
            folders = []
            for line in listing.splitlines():
                if line.startswith('debugfs: ls'):
                    folder = line.split('"')[1]
                    continue
                _, inode, mode, _, _, name, *_ = line.split('/') if line.startswith('/') else [''] * 6
                if inode in ('', '0') or name in ('.', '..'):
                    continue
                if mode.startswith('04'):
                    folders.append(f'{folder}/{name}')
                elif mode.startswith('10') and int(mode, 8) & 0o6000:
                    found.add(f'{folder}/{name}')
        return found

    def shadow(self, tree):
        return {line.split(':')[0]: line.split(':') for line in (tree / 'etc/shadow').read_text().splitlines()}

    def test_no_identity_is_in_the_image(self):
        for tree in (self.files, self.box):
            self.assertEqual((tree / 'etc/machine-id').read_text(), '')
            self.assertFalse((tree / 'var/lib/dbus/machine-id').exists())
            self.assertEqual(list((tree / 'etc/ssh').glob('ssh_host_*')), [])
            for name in ('var/lib/systemd/random-seed', 'var/lib/systemd/credential.secret', 'var/lib/orlop-appliance', 'root/.ssh'):
                self.assertFalse((tree / name).exists(), name)
            self.assertEqual(list((tree / 'var/lib/orlop').iterdir()), [])
            self.assertEqual(list((tree / 'var/lib/docker').glob('*')), [])

    def test_no_private_key_is_in_the_image(self):
        for tree in (self.files, self.box):
            done = run('grep', '-rlE', '-e', '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----', tree / 'etc', tree / 'home', tree / 'root', tree / 'var',
                       check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ''))

    def test_no_password_is_in_the_image(self):
        for tree in (self.files, self.box):
            for name, entry in self.shadow(tree).items():
                self.assertRegex(entry[1], r'^[!*]+$', name)
        self.assertIn('orlop', self.shadow(self.files))
        self.assertNotIn('vagrant', self.shadow(self.files))
        self.assertIn('vagrant', self.shadow(self.box))
        self.assertNotIn('orlop', self.shadow(self.box))

    def test_only_vagrants_own_key_is_known(self):
        self.assertEqual(list(self.files.glob('home/*/.ssh/authorized_keys')), [])
        keys = (self.box / 'home/vagrant/.ssh/authorized_keys').read_text().splitlines()
        self.assertTrue(keys and all(key.endswith(' vagrant insecure public key') for key in keys))

    def test_nothing_of_the_machine_that_built_it(self):
        hosts = set(re.findall(r'https?://([^/\s]+)', run('apt-get', 'indextargets', '--format', '$(REPO_URI)')))
        proxy = re.findall(r'https?://([^/:\s"]+)', run('apt-config', 'dump'))
        words = (hosts | set(proxy)) - {'deb.debian.org', 'security.debian.org'} | {str(ROOT)}
        name = run('uname', '-n').strip()
        for word in words | ({name} if len(name) > 6 else set()):
            done = run('grep', '-rlF', word, self.files, self.box, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ''), word)
        sources = {path.name for path in (self.files / 'etc/apt').rglob('*') if path.suffix in ('.list', '.sources')}
        self.assertEqual(sources, {'debian.sources'})
        uris = re.findall(r'^URIs: (\S+)$', (self.files / 'etc/apt/sources.list.d/debian.sources').read_text(), re.MULTILINE)
        self.assertEqual(uris, ['http://deb.debian.org/debian', 'http://deb.debian.org/debian-security'])
        self.assertFalse((self.files / 'etc/apt/apt.conf.d/99mmdebstrap').exists())

    def test_few_programs_have_rights_of_their_own(self):
        self.assertEqual(self.programs, {
            '/usr/bin/mount', '/usr/bin/passwd', '/usr/bin/su', '/usr/bin/sudo', '/usr/bin/umount', '/usr/lib/dbus-1.0/dbus-daemon-launch-helper',
            '/usr/bin/chage', '/usr/bin/expiry', '/usr/bin/ssh-agent', '/usr/sbin/unix_chkpwd'})

    def test_the_first_files_have_the_disks_drivers(self):
        """Every disk that docs/appliance.md promises can be booted from; the kernel itself has VirtIO's bus."""
        names = run('bsdtar', '-tf', next(self.files.glob('boot/initrd.img-*')))
        drivers = {path.rpartition('/')[2].partition('.ko')[0].replace('-', '_') for path in names.split() if '.ko' in path}
        wanted = {'ahci', 'ata_piix', 'ata_generic', 'sym53c8xx', 'mptspi', 'mptsas', 'vmw_pvscsi', 'nvme', 'virtio_blk', 'virtio_scsi',
                  'sd_mod', 'ext4'}
        self.assertEqual(wanted - drivers, set())

    def test_ssh_is_for_keys_and_not_for_root(self):
        text = (self.files / 'etc/ssh/sshd_config.d/10-orlop.conf').read_text()
        for line in ('PasswordAuthentication no', 'KbdInteractiveAuthentication no', 'PermitRootLogin no'):
            self.assertIn(line + '\n', text)
        self.assertEqual([path.name for path in (self.files / 'etc/ssh/sshd_config.d').iterdir()], ['10-orlop.conf'])


if __name__ == '__main__':
    unittest.main()
