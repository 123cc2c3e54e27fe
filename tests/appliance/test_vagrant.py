"""The libvirt box as a user takes it: vagrant box add, up, ssh, and the registry on the private network. With a libvirt of its own, in the
sandbox's network, and software emulation."""
import json
import os
import re
import shutil
import subprocess
import unittest
import urllib.error
import urllib.request
import ssl

from appliance.machine import BOOT_SECONDS, OUTPUT, PORT, STATIC_ADDRESS, in_sandbox, run, scratch_folder, wait_until

# Before the project's own Vagrantfile: what this computer needs, and nothing that a user would have to write.
HOME_VAGRANTFILE = f'''
Vagrant.configure("2") do |config|
  config.vm.boot_timeout = {BOOT_SECONDS}
  config.vm.provider "libvirt" do |machine|
    machine.driver = "qemu"
    machine.cpu_mode = "custom"
    machine.cpu_model = "qemu64"
  end
end
'''
QEMU_CONF = '''
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
'''
LIBVIRTD_CONF = 'unix_sock_group = "root"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n'


@unittest.skipUnless(in_sandbox(), 'needs root, for a network of its own (tests/support/sandbox.sh)')
@unittest.skipUnless(shutil.which('vagrant') and shutil.which('libvirtd'), 'vagrant and libvirt are not installed')
class VagrantTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = scratch_folder()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        # libvirt writes to /var/lib/libvirt and /var/cache/libvirt: not to this computer's.
        for name in ('lib', 'cache', 'log'):
            (cls.folder / name).mkdir()
            run('mkdir', '-p', f'/var/{name}/libvirt')
            run('mount', '--bind', cls.folder / name, f'/var/{name}/libvirt')
            cls.addClassCleanup(run, 'umount', f'/var/{name}/libvirt')
        (cls.folder / 'lib' / 'images').mkdir()
        (cls.folder / 'qemu.conf').write_text(QEMU_CONF)
        shutil.copy(cls.folder / 'qemu.conf', '/etc/libvirt/qemu.conf')
        (cls.folder / 'libvirtd.conf').write_text(LIBVIRTD_CONF)
        with open(cls.folder / 'libvirtd.log', 'wb') as log:
            cls.libvirtd = subprocess.Popen(['libvirtd', '--config', cls.folder / 'libvirtd.conf'], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        cls.addClassCleanup(cls.end)
        cls.project = cls.folder / 'project'
        cls.project.mkdir()
        # As in the folder that the script wrote; what vagrant leaves there goes with the test.
        for path in (OUTPUT / 'vagrant').iterdir():
            (cls.project / path.name).symlink_to(path)
        (cls.project / 'Vagrantfile').unlink()
        text = (OUTPUT / 'vagrant' / 'Vagrantfile').read_text()
        (cls.project / 'Vagrantfile').write_text(re.sub('machine.cpus = [0-9]+', 'machine.cpus = 1', text))    # see ACCELERATORS
        cls.home = cls.folder / 'home'
        cls.home.mkdir()
        (cls.home / 'Vagrantfile').write_text(HOME_VAGRANTFILE)
        wait_until(lambda: run('virsh', '-c', 'qemu:///system', 'list', check=False).returncode == 0, 120, 'libvirt answers')

    @classmethod
    def end(cls):
        cls.libvirtd.terminate()
        cls.libvirtd.wait()

    def vagrant(self, *words, seconds=2 * BOOT_SECONDS, **more):
        return run('vagrant', *words, cwd=self.project, seconds=seconds, env={
            **os.environ, 'VAGRANT_HOME': str(self.home), 'HOME': str(self.folder), 'VAGRANT_CHECKPOINT_DISABLE': '1',
            'VAGRANT_DEFAULT_PROVIDER': 'libvirt'}, **more)

    def answers(self):
        try:
            with urllib.request.urlopen(f'https://{STATIC_ADDRESS}:{PORT}/readyz', timeout=30, context=ssl._create_unverified_context()):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def test_the_box_is_added_and_comes_up(self):
        # The other box as well: what is looked at is its form and its checksum.
        for provider in ('virtualbox', 'libvirt'):
            self.vagrant('box', 'add', '--provider', provider, 'metadata.json')
        self.assertEqual(self.vagrant('box', 'list').count('orlop-registry'), 2)
        self.addCleanup(self.vagrant, 'destroy', '--force', check=False)
        said = self.vagrant('up')
        print(f'# {json.dumps(said[-300:])}', flush=True)
        self.assertIn('Key inserted!', said)
        wait_until(self.answers, BOOT_SECONDS, 'the registry answers on the private network')
        said = self.vagrant('ssh', '--command', 'id -un; cat ~/.ssh/authorized_keys; sudo docker ps --format "{{.Names}}"; ip -o -4 address show eth1')
        self.assertIn('vagrant\n', said)
        self.assertNotIn('insecure', said)
        self.assertIn('registry\n', said)
        self.assertIn(f'{STATIC_ADDRESS}/24', said)
        self.vagrant('halt')


if __name__ == '__main__':
    unittest.main()
