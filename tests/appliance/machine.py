"""What the appliance's tests share: where the build is, commands that must succeed, and the machine under QEMU.

The machine is emulated in software (ACCELERATOR=kvm: by hardware, where that works), with the disk from the OVA under an overlay that is
thrown away, and both network cards: the first with QEMU's own NAT, the second with a network that has the fixed address. The ports are
forwarded from the very addresses that the machine has, which the sandbox (tests/support/sandbox.sh) gives to its loopback, so that
certificates are checked as in real life."""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = Path(os.environ.get('TEST_APPLIANCE') or ROOT / 'build' / 'appliance')
NAT_ADDRESS, STATIC_ADDRESS, PORT = '10.0.2.15', '192.168.33.33', 5000
COMMAND_SECONDS = 600
os.environ['PATH'] += ':/usr/sbin:/sbin'
BOOT_SECONDS = 1800                     # software emulation on a busy machine; an idle one needs 60 to 90
PROGRESS_SECONDS = 60
# One processor in software: with two in QEMU 7.2, one boot in twenty ended in "Oops: int3" in code that the kernel changes while it runs.
ACCELERATORS = {'tcg': ['-accel', 'tcg', '-cpu', 'max', '-smp', '1'], 'kvm': ['-accel', 'kvm', '-cpu', 'host', '-smp', '2']}
ACCELERATOR = ACCELERATORS[os.environ.get('ACCELERATOR') or 'tcg']


def in_sandbox():
    return os.environ.get('TEST_SANDBOX') == 'yes'


class CommandFailed(AssertionError):
    pass


def run(*command, check=True, seconds=COMMAND_SECONDS, **more):
    """The command's standard output. A failure shows all that it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds, errors='replace',
                          **{'stdin': subprocess.DEVNULL} if 'input' not in more else {}, **more)
    if check and done.returncode:
        raise CommandFailed(f'{" ".join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout if check else done


def wait_until(check, seconds, what):
    """What check() returns once it is true."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f'{what}: not within {seconds} s')
        time.sleep(0.5)


class Machine:
    """disk: what to boot from; it stays as it is. credentials: {name: value}, handed over by SMBIOS."""

    def __init__(self, disk, folder, credentials=None, firmware='bios', size=None, controller='ide-hd', extra=()):
        self.folder = Path(folder)
        self.credentials, self.firmware, self.controller, self.extra = credentials or {}, firmware, controller, list(extra)
        self.overlay = self.folder / 'overlay.qcow2'
        self.console_log = self.folder / 'console.log'
        self.key = self.folder / 'key'
        self.user, self.password, self.process, self.console = 'orlop', None, None, None
        form = json.loads(run('qemu-img', 'info', '--output=json', disk))['format']
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', disk, '-F', form, self.overlay, *([size] if size else []))
        run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', self.key)

    # --- life ---------------------------------------------------------------------------------------------------------

    def command(self):
        bus = {'ide-hd': ['-device', 'ahci,id=sata', '-device', 'ide-hd,drive=system,bus=sata.0'],
               'virtio-blk-pci': ['-device', 'virtio-blk-pci,drive=system'],
               'scsi-hd': ['-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=system']}[self.controller]
        command = ['qemu-system-x86_64', '-machine', 'pc', *ACCELERATOR, '-m', '1024', '-display', 'none',
                   '-drive', f'if=none,id=system,file={self.overlay}', *bus,
                   '-netdev', f'user,id=nat,hostfwd=tcp:{NAT_ADDRESS}:{PORT}-:{PORT},hostfwd=tcp:127.0.0.1:22022-:22',
                   '-device', 'e1000,netdev=nat',
                   '-netdev', f'user,id=static,net=192.168.33.0/24,restrict=on,hostfwd=tcp:{STATIC_ADDRESS}:{PORT}-{STATIC_ADDRESS}:{PORT}',
                   '-device', 'e1000,netdev=static',
                   '-chardev', f'socket,id=console,path={self.folder}/console,server=on,wait=off,logfile={self.console_log},logappend=on',
                   '-serial', 'chardev:console', *self.extra]
        if self.firmware == 'efi':
            variables = self.folder / 'efi-variables'
            if not variables.exists():
                shutil.copy('/usr/share/OVMF/OVMF_VARS_4M.fd', variables)
            command += ['-drive', 'if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd',
                        '-drive', f'if=pflash,format=raw,file={variables}']
        for name, value in self.credentials.items():
            command += ['-smbios', f'type=11,value=io.systemd.credential:{name}={value}']
        return command

    def start(self):
        self.disconnect()
        self.console_from = len(self.console_text())
        with open(self.folder / 'qemu.log', 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.started = time.monotonic()
        return self

    def reboot(self):
        """By a person's command; returns when the new start begins."""
        self.console_from = len(self.console_text())
        self.started = time.monotonic()
        self.root('systemctl reboot', check=False)
        self.disconnect()
        self.wait_console('GRUB')

    def power_off(self):
        self.root('systemctl poweroff', check=False)
        self.disconnect()
        self.process.wait(BOOT_SECONDS)

    def pull_the_plug(self):
        if self.console:
            self.console.close()
            self.console = None
        if self.process:
            self.process.kill()
            self.process.wait()

    # --- the console --------------------------------------------------------------------------------------------------

    def console_text(self):
        """What the console showed, without escape sequences."""
        if not self.console_log.exists():
            return ''
        text = self.console_log.read_text(encoding='utf-8', errors='replace').replace('\r', '')
        return re.sub(r'\x1b(\[[0-9;?!]*[a-zA-Z]|[()][0-9A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|[c78])', '', text)

    def wait_for(self, check, what, seconds=BOOT_SECONDS):
        """What check() returns once it is true. Shows what the console says, every minute and in the end."""
        since = shown = time.monotonic()

        def look():
            nonlocal shown
            if self.process.poll() is not None:
                raise AssertionError(f'QEMU ended:\n{(self.folder / "qemu.log").read_text()}')
            if 'Kernel panic' in self.console_text()[self.console_from:]:
                raise AssertionError('the machine crashed')
            if time.monotonic() - shown > PROGRESS_SECONDS:
                shown = time.monotonic()
                last = self.console_text().rstrip().rpartition('\n')[2]
                print(f'# {shown - since:.0f} s: waiting for {what}; the console says "{last[-100:]}"', flush=True)
            return check()
        try:
            return wait_until(look, seconds, what)
        except AssertionError as error:
            raise AssertionError(f'{error}\n{self.console_text()[self.console_from:][-4000:]}') from None

    def wait_console(self, pattern, seconds=BOOT_SECONDS):
        """The last match of the pattern since this start."""
        def look():
            found = list(re.finditer(pattern, self.console_text()[self.console_from:], re.MULTILINE))
            return found and found[-1]
        return self.wait_for(look, f'"{pattern}" on the console', seconds)

    def type(self, text, then, seconds=COMMAND_SECONDS):
        """Types a line at the console and waits for what comes after it."""
        return self.press(text + '\n', then, seconds)

    def press(self, keys, then, seconds=COMMAND_SECONDS):
        if not self.console:
            self.console = socket.socket(socket.AF_UNIX)
            self.console.connect(f'{self.folder}/console')
            threading.Thread(target=self.drain, args=(self.console,), daemon=True).start()
        self.console_from = len(self.console_text())
        self.console.sendall(keys.encode())
        return self.wait_console(then, seconds)

    @staticmethod
    def drain(console):
        """The log has what the console shows; but an unread connection would make the machine wait."""
        try:
            while console.recv(4096):
                pass
        except OSError:
            pass

    def wait_ready(self):
        """The console says that the registry is ready; the seconds since power-on."""
        self.wait_console(r'Orlop, a container registry: \S+, ready')
        return time.monotonic() - self.started

    # --- inside -------------------------------------------------------------------------------------------------------

    def ssh_command(self, *words):
        """All commands go over one connection: a new one costs an emulated machine seconds."""
        return ['ssh', '-q', '-i', self.key, '-p', '22022', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null',
                '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=60', '-o', 'ControlMaster=auto', '-o', 'ControlPersist=yes',
                '-o', f'ControlPath={self.folder}/ssh', f'{self.user}@127.0.0.1', *words]

    def disconnect(self):
        if (self.folder / 'ssh').exists():
            run(*self.ssh_command()[:-1], '-O', 'exit', f'{self.user}@127.0.0.1', check=False)

    def ssh(self, command, **more):
        return run(*self.ssh_command(command), **more)

    def root(self, script, **more):
        """A shell script as root, by way of sudo and the user's password."""
        quoted = "'" + script.replace("'", "'\\''") + "'"
        return run(*self.ssh_command(f"sudo -S -p '' sh -euc {quoted}"), input=self.password + '\n', **more)


def scratch_folder():
    """/var/tmp: disks are too large for a /tmp in memory."""
    return Path(tempfile.mkdtemp(prefix='orlop-appliance-test-', dir='/var/tmp'))
