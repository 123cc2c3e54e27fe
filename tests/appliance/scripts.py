"""A machine's scripts without a machine: their files under a temporary folder, and beside them stubs of the programs that a machine has.

The stub of Docker knows images, tags and containers as files. A registry that starts writes a line into its database, as a newer program
may, so that it shows who had the real one open."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / 'appliance' / 'files'
SECONDS_MAX = 120
MACHINE_PATH = re.compile(r'(?<![\w}$@])/(?=usr/lib/orlop|usr/share/orlop|usr/sbin/orlop|etc/|var/lib/|run/(?:orlop|issue|systemd))')

STUBS = {
    'docker': r'''
D=$MACHINE/docker
id_of() {
        if [ -e "$D/images/$1" ]; then echo "$1"; elif [ -e "$D/tags/$1" ]; then cat "$D/tags/$1"; else return 1; fi
}
fails() { case " ${FAIL:-} " in *" $1 "*) echo "docker: no" >&2; exit 1 ;; esac; }
fails "$1"
fails "$1-$2"
case "$1 $2" in
'load '*)
        if [ "$2" = --input ]; then exec <"$3"; fi
        IFS=' ' read -r form id tag title good
        [ "$form" = archive ] || exit 1
        mkdir -p "$D/images" && echo "$title $good" >"$D/images/$id"
        if [ "$tag" = - ]; then echo "Loaded image ID: $id"; else echo "$id" >"$D/tags/$tag" && echo "Loaded image: $tag"; fi ;;
'save --output')
        : >"$3"
        fails save-late
        read -r title good <"$D/images/$4" && echo "archive $4 - $title $good" >"$3" ;;
'tag '*) id=$(id_of "$2") && echo "$id" >"$D/tags/$3" ;;
'image inspect')
        id=$(id_of "$5$6") 2>/dev/null || id=$(id_of "$3") || exit 1
        read -r title good <"$D/images/$id"
        case $4 in *title*) echo "$title" ;; *version*) echo 1 ;; *) echo "$id" ;; esac ;;
'image rm') rm -f "$D/images/$4"; for tag in "$D"/tags/*; do [ "$(cat "$tag")" != "$4" ] || rm -f "$tag"; done ;;
'image ls') ls "$D/images" ;;
'image prune') ;;
'container inspect')
        c=$D/containers/$5
        [ -d "$c" ] || exit 1
        read -r status code <"$c/status"
        case $4 in
        '{{.Image}}') cat "$c/image" ;;
        *ExitCode*) echo "$status $code" ;;
        *) [ "$status" != running ] || status='running healthy'; echo "$status" ;;
        esac ;;
'create --name')
        c=$D/containers/$3
        for image; do :; done
        id=$(id_of "$image") && mkdir "$c" && echo "$id" >"$c/image" && echo 'created 0' >"$c/status" && echo "$*" >"$c/arguments" ;;
'start '*)
        c=$D/containers/$2
        [ -d "$c" ] || exit 1
        read -r status code <"$c/status"
        [ "$status" != running ] || exit 0
        id=$(cat "$c/image")
        data=$(sed -n 's/.*source=\([^ ,]*\),target=\/data .*/\1/p' "$c/arguments")
        echo "opened by $id" >>"$data/orlop.db"
        read -r title good <"$D/images/$id"
        if [ "$good" = good ]; then echo 'running 0' >"$c/status"; else echo 'exited 1' >"$c/status"; fi
        [ "$2" != registry-trial ] || {
                cp "$c/arguments" "$MACHINE/trial-arguments"
                cp "$D/containers/registry/status" "$MACHINE/during-trial"
        } ;;
'stop '*) [ -d "$D/containers/$2" ] && echo 'exited 0' >"$D/containers/$2/status" ;;
'rm --force') [ -d "$D/containers/$3" ] && rm -r "$D/containers/$3" ;;
'kill '* | 'logs '*) ;;
*) echo "docker $*: not known to the stub" >&2; exit 1 ;;
esac''',
    'systemctl': r'''
case "$*" in
'is-active --quiet docker.service') ;;
*ActiveState*) sed -n 1p "$MACHINE/docker-states"; [ "$(wc -l <"$MACHINE/docker-states")" = 1 ] || sed -i 1d "$MACHINE/docker-states" ;;
*NRestarts*) echo 0 ;;
*Job*) echo "${DOCKER_JOB:-}" ;;
'restart orlop-registry.service') unset BASH_ENV; exec "$MACHINE/usr/lib/orlop-appliance/registry" ;;
*) echo "systemctl $*" >>"$MACHINE/systemctl.log" ;;
esac''',
    'dockerd': '[ "${DAEMON_JSON:-good}" = good ]',
    # Half of the file, then a full disk.
    'cp': r'''case " ${FAIL:-} $* " in *' cp '*orlop.db*trial*) head -c 8 "$2" >"$3/${2##*/}"; exit 1 ;; esac
exec /bin/cp "$@"''',
    'install': 'for folder; do case $folder in /*) mkdir -p "$folder" ;; esac; done',
    'id': 'echo 0',
    'hostname': 'if [ $# = 1 ]; then [ "$1" != refused ] && echo "$1" >"$MACHINE/running-name"; else echo registry; fi',
    # Disks are files here, whose kinds a table knows: DEVICE TYPE REMOVABLE READ-ONLY DISK.
    'lsblk': r"""
for device; do :; done
line() { awk -v device="$device" '$1 == device || device ~ /NAME/' "$MACHINE/disks"; }
case "$*" in
*'-drnpo NAME,TYPE,RM,RO'*) awk '$2 == "disk" { print $1, $2, $3, $4 }' "$MACHINE/disks" ;;
*'-dno TYPE'*) line | awk '{ print $2 }' ;;
*'-rnspo NAME,TYPE'*) line | awk '{ print $1, $2; if ($5 != $1) print $5, "disk" }' ;;
*'-rno NAME'*) echo "$device" ;;
esac""",
    'blockdev': 'exec stat -c %s "$2"',
    'findmnt': r"""case "$*" in *' /') head -n 1 "$MACHINE/disks" | cut -d' ' -f1 ;; *) cat "$MACHINE/mounted" 2>/dev/null ;; esac""",
    'blkid': r"""
case "$*" in
*LABEL=*)
        cut -d' ' -f1 "$MACHINE/disks" | while read -r disk; do
                [ "$(/usr/sbin/blkid -p -o value -s LABEL "$disk")" != "${4#LABEL=}" ] || echo "$disk"
        done ;;
*) exec /usr/sbin/blkid "$@" ;;
esac""",
    'mountpoint': '[ -s "$MACHINE/mounted" ]',
    'umount': '[ "${FAIL:-}" != umount ]',
    'df': 'echo 99999999',
    **dict.fromkeys(('ip', 'sync', 'sleep', 'chown', 'udevadm'), ':'),
}

# Ends the script before its command number CUT_AT: SIGKILL ends all of its processes, as a power cut does.
CUT = r'''
set -T
cut_n=0
trap 'cut_n=$((cut_n + 1)); [ "$cut_n" != "$CUT_AT" ] || [ -e "$MACHINE/cut" ] || {
        echo "$BASH_COMMAND" >"$MACHINE/cut"
        kill -"$CUT_SIGNAL" "${CUT_WHO:-$$}"
}' DEBUG
'''


def archive(image, tag='-', title='Orlop', good='good'):
    return f'archive {image} {tag} {title} {good}\n'


class Scripts:
    """The files of a machine in a folder. `machine.path('/var/lib/orlop')` is where the scripts see that."""

    def __init__(self, folder=None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix='orlop-scripts-'))
        if not folder:
            self.make()

    def make(self):
        for source in FILES.rglob('*'):
            if source.is_file() and re.search(r'/usr/(sbin|lib)/', str(source)):
                target = self.path('/' + str(source.relative_to(FILES)))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(MACHINE_PATH.sub(f'{self.folder}/', source.read_text()))
                target.chmod(0o755)
        for name in ('/etc/orlop/registry', '/etc/docker', '/var/lib/orlop/blobs', '/var/lib/orlop/tls', '/var/lib/orlop-appliance',
                     '/etc/systemd/network', '/var/lib/docker', '/usr/share/orlop-appliance', '/run/orlop', '/docker/images', '/docker/tags', '/docker/containers', '/bin'):
            self.path(name).mkdir(parents=True, exist_ok=True)
        self.path('/etc/orlop/machine.conf').write_text("USERNAME='orlop'\nREGISTRY_PORT='5000'\nFIRST_PASSWORD=random\n")
        self.path('/docker-states').write_text('active\n')
        self.path('/cut.sh').write_text(CUT)
        for name, text in STUBS.items():
            self.stub(name, text)

    def stub(self, name, text):
        path = self.path(f'/bin/{name}')
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)

    def path(self, name):
        return self.folder / name.lstrip('/')

    def copy(self):
        """Another machine in the same state, under the same paths: the folder's contents, to be put back by restore()."""
        saved = Path(tempfile.mkdtemp(prefix='orlop-scripts-saved-'))
        shutil.copytree(self.folder, saved / 'saved', symlinks=True, ignore=shutil.ignore_patterns('cut'))
        return saved

    def restore(self, saved):
        for name in ('etc', 'var', 'run', 'docker', 'cut', 'trial-arguments', 'during-trial', 'docker-states', 'systemctl.log'):
            path = self.path(name)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if (saved / 'saved' / name).is_dir():
                shutil.copytree(saved / 'saved' / name, path, symlinks=True)
            elif (saved / 'saved' / name).exists():
                shutil.copy(saved / 'saved' / name, path)

    def run(self, *command, cut_at=None, cut_signal='KILL', shell=None, stdin=None, **variables):
        """A script of the machine's, with what it said. cut_at: it is ended before its command of this number."""
        words = [str(word) for word in command]
        environment = {**os.environ, 'PATH': f'{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'MACHINE': str(self.folder), **variables}
        if cut_at:
            words = ['bash', *words]
            environment.update(BASH_ENV=str(self.path('/cut.sh')), CUT_AT=str(cut_at), CUT_SIGNAL=cut_signal,
                               CUT_WHO='0' if cut_signal == 'KILL' else '')
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, start_new_session=True, check=False,
                              preexec_fn=self.usual_signals, **({'input': stdin} if stdin else {'stdin': subprocess.DEVNULL}))

    @staticmethod
    def usual_signals():
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)

    def boot(self, **more):
        return self.run(self.path('/usr/lib/orlop-appliance/registry'), **more)

    def update(self, *words, **more):
        return self.run(self.path('/usr/sbin/orlop-update'), *words, **more)

    def setup(self, *words, **more):
        return self.run(self.path('/usr/sbin/orlop-setup'), *words, **more)

    def function(self, library, script, **more):
        """A piece of shell with the functions of a file of the machine's."""
        lines = f'set -u; . {self.path("/usr/lib/orlop-appliance/common.sh")}\n'
        if library:
            lines += f'. {self.path("/usr/lib/orlop-appliance/" + library)}\n'
        return self.run('sh', '-c', lines + script, **more)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
