"""Runs the program's other commands, and reads what they print for scripts."""
import json
import subprocess

from support.daemon import binary

SECONDS = 300                           # sanitizers and a busy machine


def run_orlop(*arguments, **more):
    return subprocess.run([binary(), *map(str, arguments)], **{'capture_output': True, 'text': True, 'timeout': SECONDS, **more})


class Answer:
    """What a command printed with --json: its rows by kind, its last line, its exit status."""

    def __init__(self, run):
        self.status, self.errors = run.returncode, run.stderr
        self.lines = [json.loads(line) for line in run.stdout.splitlines()]

    def all(self, kind):
        return [line for line in self.lines if line['kind'] == kind]

    def one(self, kind):
        found = self.all(kind)
        assert len(found) == 1, f'{len(found)} lines "{kind}" in {self.lines}; {self.errors}'
        return found[0]

    @property
    def total(self):
        return self.one('total')


def ask(data, command, *arguments, status=0):
    """An answer of the registry in this folder, which may run; `status` is the exit status that is expected."""
    run = run_orlop(command, *arguments, '--json', '--data', data)
    assert run.returncode == status, f'orlop {command} ended with {run.returncode}: {run.stdout}{run.stderr}'
    return Answer(run)
