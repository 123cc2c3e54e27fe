"""The machine's own scripts, without a machine: an update that is ended at each of its commands, and what else must not go wrong."""
import shutil
import subprocess
import unittest

from appliance.scripts import ROOT, Scripts, archive

DATABASE = 'rows of long ago\n'
LOG = 'rows that are not in the database yet\n'


class RegistryTest(unittest.TestCase):
    """A machine whose registry runs the image "old", with stored data."""

    def setUp(self):
        self.machine = Scripts()
        self.addCleanup(self.machine.remove)
        self.path = self.machine.path
        self.path('/usr/share/orlop-appliance/orlop-image.tar').write_text(archive('old', 'orlop:1'))
        self.write_data('orlop.db', DATABASE)
        self.write_data('orlop.db-wal', LOG)
        self.write_data('orlop.db.copy', 'the hourly copy\n')
        self.path('/var/lib/orlop/tls/ca.key').write_text('key\n')
        self.new = self.path('/new.tar')
        self.new.write_text(archive('new', 'orlop:2'))
        self.assert_well(self.machine.boot())
        self.assert_settled('old')

    def write_data(self, name, text):
        self.path(f'/var/lib/orlop/{name}').write_text(text)

    def data(self, name):
        return self.path(f'/var/lib/orlop/{name}').read_text()

    def container(self, what, name='registry'):
        return self.path(f'/docker/containers/{name}/{what}').read_text().strip()

    def stored(self):
        return self.path('/var/lib/orlop-appliance/image-stored').read_text().strip()

    def archive_in_use(self):
        kept = self.path('/var/lib/orlop-appliance/image.tar')
        return (kept if kept.exists() else self.path('/usr/share/orlop-appliance/orlop-image.tar')).read_text().split()[1]

    def assert_well(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def assert_settled(self, *images):
        """The registry runs one of these images, all that is remembered says the same, the data is whole, and nothing lies about."""
        image = self.container('image')
        self.assertIn(image, images)
        self.assertEqual((self.container('status'), self.stored(), self.archive_in_use()), ('running 0', image, image))
        self.assertEqual(self.path('/docker/tags/orlop:installed').read_text().strip(), image)
        self.assertEqual([path.name for path in self.path('/docker/containers').iterdir()], ['registry'])
        database = self.data('orlop.db')
        self.assertTrue(database.startswith(DATABASE), database)
        if image == 'old':
            self.assertNotIn('opened by new', database)
        self.assertEqual((self.data('orlop.db-wal'), self.data('orlop.db.copy')), (LOG, 'the hourly copy\n'))
        self.assertEqual(sorted(path.name for path in self.path('/var/lib/orlop').iterdir()),
                         ['blobs', 'orlop.db', 'orlop.db-wal', 'orlop.db.copy', 'tls'])
        names = {path.name for path in self.path('/var/lib/orlop-appliance').iterdir()}
        self.assertLessEqual(names, {'image.tar', 'image-previous.tar', 'image-stored'})
        return image

    def at_every_command(self, saved, cut, then):
        """From the saved state cut(number), ended before that command of the script's, then then(what came of it), for all that there are."""
        self.addCleanup(shutil.rmtree, saved, ignore_errors=True)
        number = 0
        while True:
            number += 1
            self.machine.restore(saved)
            done = cut(number)
            if not self.path('/cut').exists():
                break
            with self.subTest(number=number, command=self.path('/cut').read_text().strip()):
                then(done)
        self.assert_well(done)
        print(f'# {number - 1} places', flush=True)


class UpdateTest(RegistryTest):
    def update_and_boot(self, *words, **more):
        done = self.machine.update(*words, **more)
        self.assert_well(self.machine.boot())
        return done

    def test_an_update_that_works(self):
        self.assert_well(self.machine.update(self.new))
        self.assert_settled('new')
        self.assertEqual(self.path('/var/lib/orlop-appliance/image-previous.tar').read_text().split()[1], 'old')

    def test_the_trial_has_neither_the_data_nor_the_network(self):
        self.assert_well(self.machine.update(self.new))
        words = self.path('/trial-arguments').read_text().split()
        self.assertIn('--network none', ' '.join(words))
        storage = self.path('/var/lib/orlop')
        self.assertIn(f'type=bind,source={storage}/.trial,target=/data', words)
        self.assertIn(f'type=bind,source={storage}/blobs,target=/data/blobs,readonly', words)
        self.assertNotIn(f'source={storage},', ' '.join(words))
        self.assertEqual(self.path('/during-trial').read_text(), 'running 0\n')

    def test_back_and_forth(self):
        self.assertEqual(self.machine.update('back').returncode, 1)
        for _ in range(2):
            self.assert_well(self.machine.update(self.new))
            self.assert_settled('new')
            self.assert_well(self.machine.update('back'))
            image = self.container('image')
            self.assertEqual((image, self.stored(), self.archive_in_use()), ('old', 'old', 'old'))
        self.assert_well(self.machine.update('back'))
        self.assert_settled('new')

    def test_standard_input(self):
        self.assert_well(self.machine.update('-', stdin=archive('new')))
        self.assert_settled('new')

    def test_ended_at_every_command_by_a_power_cut(self):
        """Then the boot: the old state or the new one, and once the new image counts, always the new one. That boot is cut as well."""
        seen, cuts = [], []

        def boot(_):
            if not cuts and self.archive_in_use() == 'new' and self.container('image') == 'old':
                cuts.append(self.machine.copy())
            self.assert_well(self.machine.boot())
            seen.append(self.assert_settled('old', 'new'))
            if seen[-1] == 'new':
                self.assertEqual(self.path('/var/lib/orlop-appliance/image-previous.tar').read_text().split()[1], 'old')

        self.at_every_command(self.machine.copy(), lambda number: self.machine.update(self.new, cut_at=number), boot)
        self.assert_settled('new')
        self.assertEqual(seen, sorted(seen, reverse=True))
        self.assertEqual(set(seen), {'old', 'new'})
        self.at_every_command(cuts[0], lambda number: self.machine.boot(cut_at=number), boot)
        self.assert_settled('new')

    def test_ended_at_every_command_by_a_signal(self):
        """Ctrl-C, a closed ssh session, kill: the script itself leaves all as it must be, without a boot."""
        seen = set()
        signals = ['INT', 'HUP', 'TERM']

        def look(done):
            if done.returncode < 0:             # before the script could say what is to be done at a signal
                self.assertEqual(self.container('status'), 'running 0')
            else:
                seen.add(self.assert_settled('old', 'new'))

        self.at_every_command(self.machine.copy(),
                              lambda number: self.machine.update(self.new, cut_at=number, cut_signal=signals[number % 3]), look)
        self.assertEqual(seen, {'old', 'new'})

    def test_the_first_boot_is_cut(self):
        self.machine.run('docker', 'rm', '--force', 'registry')
        for folder in ('/docker/images', '/docker/tags', '/var/lib/orlop-appliance'):
            shutil.rmtree(self.path(folder))
            self.path(folder).mkdir()

        def boot(_):
            self.assert_well(self.machine.boot())
            self.assert_settled('old')

        self.at_every_command(self.machine.copy(), lambda number: self.machine.boot(cut_at=number), boot)

    def test_what_fails_leaves_the_registry_as_it_was(self):
        """The disk becomes full in the midst of a copy, Docker refuses, the image is no good: the same end each time."""
        rows = [(archive('new'), 'cp'), (archive('new'), 'save'), (archive('new'), 'save-late'), (archive('new'), 'create'),
                (archive('new', good='bad'), ''), (archive('new', 'orlop:installed', good='bad'), ''), (archive('new', title='Other'), ''),
                ('nonsense\n', ''), (archive('new'), 'load')]
        for text, fail in rows:
            with self.subTest(archive=text, fail=fail):
                self.new.write_text(text)
                done = self.machine.update(self.new, FAIL=fail)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assert_settled('old')
                self.assertEqual([path.name for path in self.path('/docker/images').iterdir()], ['old'])
                self.assert_well(self.machine.boot())
                self.assert_settled('old')

    def test_what_is_pushed_after_an_interrupted_update_stays(self):
        """Docker does not start the registry again; a person does, and the mark of the update is still there at the next boot."""
        self.assertEqual(self.machine.update(self.new, FAIL='start').returncode, 1)
        self.machine.run('docker', 'start', 'registry')
        with open(self.path('/var/lib/orlop/orlop.db'), 'a') as file:
            file.write('pushed and acknowledged\n')
        self.assert_well(self.machine.boot())
        self.assert_settled('old')
        self.assertIn('pushed and acknowledged', self.data('orlop.db'))

    def test_leftovers_of_another_machine_go(self):
        """A data disk that comes from a machine whose update was cut."""
        self.path('/var/lib/orlop/.trial').mkdir()
        self.write_data('.trial/orlop.db', 'of long ago')
        self.assert_well(self.machine.boot())
        self.assert_settled('old')

    def test_the_same_image_is_nothing_to_do(self):
        self.new.write_text(archive('old'))
        self.assert_well(self.machine.update(self.new))
        self.assert_settled('old')
        self.assertFalse(self.path('/trial-arguments').exists())

    def test_two_at_once(self):
        with open(self.path('/run/orlop/update.lock'), 'w') as lock:
            subprocess.run(['flock', '-n', str(lock.fileno())], pass_fds=[lock.fileno()], check=True)
            done = self.machine.update(self.new)
        self.assertEqual(done.returncode, 1)
        self.assertIn('under way', done.stderr)


class BootTest(RegistryTest):
    def test_what_a_person_stopped_stays_stopped(self):
        self.machine.run('docker', 'stop', 'registry')
        self.assert_well(self.machine.boot())
        self.assertEqual(self.container('status'), 'exited 0')

    def test_a_spoiled_container_is_made_again_from_the_archive(self):
        self.path('/docker/containers/registry/status').write_text('exited 127\n')
        self.path('/docker/images/old').write_text('Orlop bad\n')
        self.assert_well(self.machine.boot())
        self.assert_settled('old')

    def test_an_image_that_docker_lost_is_loaded_again(self):
        for path in (*self.path('/docker/tags').iterdir(), *self.path('/docker/images').iterdir()):
            path.unlink()
        self.machine.run('docker', 'rm', '--force', 'registry')
        self.assert_well(self.machine.boot())
        self.assert_settled('old')

    def test_docker_waits_for_containerd(self):
        """Its job is queued: it is not switched off."""
        self.path('/docker-states').write_text('inactive\ninactive\nactivating\nactive\n')
        self.assert_well(self.machine.boot(DOCKER_JOB='77'))
        self.path('/docker-states').write_text('inactive\n')
        done = self.machine.boot()
        self.assertIn('switched off', done.stderr)
        self.assertEqual(done.returncode, 1)

    def test_a_mistake_in_dockers_settings_costs_nothing(self):
        self.path('/var/lib/docker/volume').write_text('of another container\n')
        self.path('/docker-states').write_text('failed\n')
        self.assertEqual(self.machine.boot(DAEMON_JSON='bad').returncode, 1)
        self.assertTrue(self.path('/var/lib/docker/volume').exists())
        self.assertIn('daemon.json', self.path('/run/orlop/notices/docker').read_text())

    def test_docker_begins_anew_only_where_that_helps(self):
        self.path('/var/lib/docker/volume').write_text('of another container\n')
        self.path('/docker-states').write_text('failed\nfailed\nfailed\n')
        self.assertEqual(self.machine.boot().returncode, 1)
        self.assertTrue(self.path('/var/lib/docker/volume').exists())
        self.assertFalse(self.path('/var/lib/docker.broken').exists())
        self.path('/docker-states').write_text('failed\nfailed\nactive\n')
        self.assert_well(self.machine.boot())
        self.assertTrue(self.path('/var/lib/docker.broken/volume').exists())
        self.assert_settled('old')


class SettingsTest(unittest.TestCase):
    """orlop-setup, and what it shares with the settings that are given at import."""

    def setUp(self):
        self.machine = Scripts()
        self.addCleanup(self.machine.remove)
        self.path = self.machine.path

    def test_names_and_addresses_are_one_word(self):
        rows = [('is_host_name', 'depot', 0), ('is_host_name', 'a-1', 0), ('is_host_name', 'x' * 63, 0), ('is_host_name', 'x' * 64, 1),
                ('is_host_name', 'good\n6.6.6.6 deb.debian.org', 1), ('is_host_name', 'good\n', 1), ('is_host_name', '-a', 1),
                ('is_host_name', '', 1), ('is_host_name', 'a.b', 1),
                ('with_prefix', '10.0.0.1', 0), ('with_prefix', '10.0.0.1/8', 0), ('with_prefix', '10.0.0.1\n10.0.0.2', 1),
                ('with_prefix', '10.0.0.1\n10.0.0.2/24', 1), ('with_prefix', '10.0.0.1/24\n', 1), ('with_prefix', '10.0.0.256', 1)]
        for function, value, status in rows:
            with self.subTest(function=function, value=value):
                done = self.machine.function(None, f'{function} "$VALUE"', VALUE=value)
                self.assertEqual(done.returncode, status, done.stderr)

    def test_a_file_is_written_whole_or_stays(self):
        """Without set -e, as in the console's script: the disk is full after the first bytes."""
        target = self.path('/etc/target')
        target.write_text('as it was\n')
        self.machine.stub('cat', 'head -c 4; exit 1')
        done = self.machine.function(None, f'printf "%s" "what is new" | write {target} 600')
        self.assertEqual((done.returncode, target.read_text()), (1, 'as it was\n'))
        self.assertEqual([path.name for path in target.parent.glob('target*')], ['target'])
        self.path('/bin/cat').unlink()
        self.assertEqual(self.machine.function(None, f'printf "%s" "what is new" | write {target} 600').returncode, 0)
        self.assertEqual((target.read_text(), target.stat().st_mode & 0o777), ('what is new', 0o600))

    def test_the_registry_is_not_told_of_names_that_are_not_written(self):
        self.machine.stub('mv', 'exit 1')
        self.machine.stub('docker', 'echo "$*" >>"$MACHINE/told"')
        done = self.machine.function('registry.sh', 'configure_registry')
        self.assertNotEqual(done.returncode, 0)
        self.assertFalse(self.path('/told').exists())

    def test_the_hosts_file_keeps_other_lines(self):
        hosts = self.path('/etc/hosts')
        hosts.write_text('127.0.0.1 localhost\n127.0.1.1 before\n10.0.0.7 printer\n')
        done = self.machine.setup('hostname', 'depot')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(hosts.read_text(), '127.0.0.1 localhost\n10.0.0.7 printer\n127.0.1.1 depot\n')
        self.assertEqual(self.path('/etc/hostname').read_text(), 'depot\n')
        self.path('/run/systemd/system').mkdir(parents=True)
        self.assertNotEqual(self.machine.setup('hostname', 'refused').returncode, 0)
        self.assertEqual(self.path('/etc/hostname').read_text(), 'depot\n')


class DiskTest(unittest.TestCase):
    """Files in the place of disks: the system's with its three partitions, and others."""

    def setUp(self):
        self.machine = Scripts()
        self.addCleanup(self.machine.remove)
        self.path = self.machine.path
        # A device is a file here.
        setup = self.path('/usr/sbin/orlop-setup')
        setup.write_text(setup.read_text().replace('[ -b "$device" ]', '[ -f "$device" ]'))
        self.table = []
        for name, kind in (('sda3', 'part'), ('sda1', 'part'), ('sda2', 'part'), ('sda', 'disk')):
            self.disk(name, kind, of='sda')

    def disk(self, name, kind='disk', of=None, mib=1100, removable=0):
        path = self.path(f'/{name}')
        with open(path, 'wb') as file:
            file.truncate(mib << 20)
        self.table.append(f'{path} {kind} {removable} 0 {self.path("/" + (of or name))}\n')
        self.path('/disks').write_text(''.join(self.table))
        return path

    def format(self, path, label):
        subprocess.run(['/usr/sbin/mkfs.ext4', '-q', '-F', '-L', label, path], check=True, timeout=120)

    def is_blank(self, path):
        return self.machine.function('disks.sh', f'is_blank {path}').returncode == 0

    @staticmethod
    def start_of(path):
        with open(path, 'rb') as file:
            return file.read(8 << 20)

    def assert_refused(self, want, *words, untouched, **more):
        before = self.start_of(untouched)
        done = self.machine.setup('storage', *words, **more)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(want, done.stderr)
        self.assertEqual(self.start_of(untouched), before)

    def test_the_systems_own_disk_is_never_erased(self):
        for name in ('sda', 'sda1', 'sda2', 'sda3'):
            path = self.path(f'/{name}')
            with open(path, 'r+b') as file:
                file.write(b'boot loader')
            self.assert_refused("system's own" if name == 'sda' else 'not a whole disk', path, '--format', untouched=path)
        link = self.path('/by-id')
        link.symlink_to(self.path('/sda'))
        self.assert_refused("system's own", link, '--format', untouched=self.path('/sda'))

    def test_another_disks_partition_and_a_stick_are_refused(self):
        self.disk('sdb')
        self.assert_refused('not a whole disk', self.disk('sdb1', 'part', of='sdb'), '--format', untouched=self.path('/sdb1'))
        self.assert_refused('removable', self.disk('sdc', removable=1), '--format', untouched=self.path('/sdc'))

    def test_a_disk_with_something_on_it_needs_format(self):
        disk = self.disk('sdb')
        self.format(disk, 'photos')
        self.assert_refused('not empty', disk, untouched=disk)
        # The unit is a stub: it mounts what it is told.
        self.machine.stub('systemctl', 'case "$*" in "restart orlop-storage.service") '
                                       'cp "$MACHINE/run/orlop/storage-wish" "$MACHINE/mounted" ;; esac')
        done = self.machine.setup('storage', disk, '--format')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(self.is_blank(disk))
        self.assertEqual(self.path('/run/orlop/storage-wish').read_text().strip(), str(disk))

    def test_a_disk_that_is_not_taken_is_an_error(self):
        disk = self.disk('sdb')
        self.assert_refused('not in use', disk, untouched=disk)

    def test_beside_another_data_disk_nothing_is_erased(self):
        self.format(self.disk('sdb'), 'orlop-data')
        disk = self.disk('sdc')
        self.format(disk, 'photos')
        self.assert_refused('detach it first', disk, '--format', untouched=disk)

    def test_a_busy_storage_stays_in_use(self):
        self.path('/etc/orlop/data-disk').write_text('some-uuid\n')
        self.path('/mounted').write_text('/dev/sdx\n')
        done = self.machine.setup('storage', 'system', FAIL='umount')
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.path('/etc/orlop/data-disk').read_text(), 'some-uuid\n')
        self.assertIn('start docker.service orlop-registry.service', self.path('/systemctl.log').read_text())

    def storage_chooses(self, wish=''):
        """What the unit would take, as far as it goes without mounting."""
        text = self.path('/usr/lib/orlop-appliance/storage').read_text()
        text = text.replace('\nprepare\n', '\nnew_disk\n').replace('set -eu\n', f'set -eu\nwish={wish}\n')
        self.path('/usr/lib/orlop-appliance/choose').write_text(text)
        return self.machine.run('sh', self.path('/usr/lib/orlop-appliance/choose')).stdout.strip()

    def test_the_disk_that_was_named_is_taken(self):
        first, second = self.disk('sdb'), self.disk('sdc')
        self.assertEqual(self.storage_chooses(), str(first))
        self.assertEqual(self.storage_chooses(second), str(second))

    def test_a_disk_that_is_not_used_is_named_on_the_console(self):
        disk = self.disk('sdb')
        self.format(disk, 'photos')
        self.assertEqual(self.storage_chooses(), '')
        self.assertIn(str(disk), self.path('/run/orlop/notices/storage').read_text())

    def test_a_move_that_was_cut_starts_over(self):
        disk = self.disk('sdb')
        self.format(disk, 'orlop-moving')
        self.assertFalse(self.is_blank(disk))
        text = self.path('/usr/lib/orlop-appliance/storage').read_text()
        for name in ('move_to', 'adopt'):
            text = text.replace(f'\n{name}() {{\n', f'\n{name}() {{\n        say "{name} $1"; return\n')
        self.path('/usr/lib/orlop-appliance/storage').write_text(text)
        said = self.machine.run(self.path('/usr/lib/orlop-appliance/storage'))
        self.assertEqual(said.stdout.split('\n')[:2], [f'move_to {disk}', f'adopt {disk}'], said.stderr)
        self.assertTrue(self.is_blank(disk))


class OutputTest(unittest.TestCase):
    """What a build may replace: appliance/build/package.sh."""

    def setUp(self):
        self.machine = Scripts()
        self.addCleanup(self.machine.remove)
        self.output = self.machine.path('/output')
        for name in ('made/out', 'made/boxes', 'output'):
            self.machine.path(f'/{name}').mkdir(parents=True)

    def publish(self, content, function='publish_output'):
        for name in ('out/orlop-registry.ova', 'boxes/Vagrantfile', 'boxes/orlop-registry_libvirt.box'):
            self.machine.path(f'/made/{name}').write_text(content)
        self.machine.path('/made/boxes/metadata.json').write_text('{\n  "name": "orlop-registry" }\n')
        script = f"""set -euo pipefail
            root={ROOT} OUTPUT={self.output} work={self.machine.path('/made')} name=orlop-registry
            fail() {{ echo "$*" >&2; exit 1; }}
            . {ROOT}/appliance/build/package.sh
            {function}"""
        return self.machine.run('bash', '-c', script)

    def assert_published(self, content):
        done = self.publish(content)
        self.assertEqual(done.returncode, 0, done.stderr)
        for folder in ('output-virtualbox-iso', 'vagrant'):
            subprocess.run(['sha256sum', '--check', '--quiet', '--strict', 'SHA256SUMS'], cwd=self.output / folder, check=True, timeout=60)
        self.assertEqual((self.output / 'output-virtualbox-iso/orlop-registry.ova').read_text(), content)

    def test_only_its_own_files_are_replaced(self):
        self.assert_published('first')
        self.assertEqual({path.name for path in (self.output / 'vagrant').iterdir()},
                         {'Vagrantfile', 'metadata.json', 'orlop-registry_libvirt.box', 'SHA256SUMS'})
        key = self.output / 'vagrant/.vagrant/private_key'
        key.parent.mkdir()
        key.write_text('the only way into a running machine')
        (self.output / 'output-virtualbox-iso/mine').write_text('mine')
        self.assert_published('second')
        self.assertEqual(key.read_text(), 'the only way into a running machine')
        self.assertEqual((self.output / 'output-virtualbox-iso/mine').read_text(), 'mine')
        self.assertFalse((self.output / 'vagrant/Vagrantfile.edited').exists())

    def test_an_edited_vagrantfile_is_kept_beside(self):
        self.assert_published('first')
        (self.output / 'vagrant/Vagrantfile').write_text('with more memory')
        self.assert_published('second')
        self.assertEqual((self.output / 'vagrant/Vagrantfile.edited').read_text(), 'with more memory')

    def test_another_projects_folder_is_refused(self):
        self.assertEqual(self.publish('first', 'check_output').returncode, 0)
        (self.output / 'vagrant').mkdir()
        (self.output / 'vagrant/Vagrantfile').write_text("another project's")
        done = self.publish('first', 'check_output')
        self.assertEqual(done.returncode, 1)
        self.assertIn("another project's", done.stderr)

    def test_what_fails_after_the_files_are_written_says_so(self):
        for last, want in (('publish_output; step VirtualBox false', 'The files are written'), ('false', 'Nothing was written')):
            with self.subTest(last=last):
                done = self.publish('first', f"""
                    PACKAGE_CACHE='' START_VIRTUALBOX_LOCALLY=true TMPDIR={self.machine.path('/made')}
                    made=$work
                    . {ROOT}/appliance/build/steps.sh
                    begin
                    cp -r "$made/out" "$made/boxes" "$work/"
                    step files {last}""")
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(want, done.stderr)
                self.assertIn('1/8 files', done.stdout)

    def test_a_full_disk_leaves_what_was_there(self):
        self.assert_published('first')
        self.machine.stub('cp', 'case "$2" in *libvirt*) exit 1 ;; esac; exec /bin/cp "$@"')
        self.assertNotEqual(self.publish('second').returncode, 0)
        self.assertEqual((self.output / 'output-virtualbox-iso/orlop-registry.ova').read_text(), 'first')
        self.assertEqual((self.output / 'vagrant/Vagrantfile').read_text(), 'first')


if __name__ == '__main__':
    unittest.main()
