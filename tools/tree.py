#!/usr/bin/env python3
"""The tree's own rules, which no compiler knows (ARCHITECTURE.md, "The rooms"). Prints what breaks one, and exits 1.

    tools/tree.py [--report] [FOLDER]

--report prints how long functions and files are as well. Where a rule must be broken, the line says so: "tree: allow" and why."""
import re
import statistics
import subprocess
import sys
from pathlib import Path

# A room, and the rooms that it may include from. A new room is a new line here.
ROOMS = {
    'base': [],
    'net': ['base'],
    'oci': ['base'],
    'http': ['net', 'base'],
    'store/blob': ['oci', 'base'],
    'store/meta': ['oci', 'base'],
    'registry': ['store/blob', 'store/meta', 'oci', 'base'],
    'jobs': ['registry', 'store/blob', 'store/meta', 'oci', 'base'],
    'transfer': ['registry', 'store/blob', 'store/meta', 'net', 'oci', 'base'],
    'api': ['registry', 'http', 'oci', 'base'],
    'cli': ['api', 'jobs', 'transfer', 'registry', 'store/blob', 'store/meta', 'http', 'net', 'oci', 'base'],
    '': ['cli', 'base'],                                # main.c
}

# What is not called, and what is used instead.
BANNED = {
    'strcpy strcat strncpy strncat stpcpy': 'struct buf, or snprintf with its result checked',
    'sprintf vsprintf': 'snprintf',
    'gets scanf sscanf fscanf': 'slice_cut() and its kin',
    'strtok strtok_r strsep': 'slice_next()',
    'atoi atol atoll strtol strtoul strtoll strtoull': 'slice_to_u64()',
    'alloca': 'an arena',
    'tmpnam tempnam mktemp': 'O_TMPFILE or mkostemp()',
    'system popen': 'posix_spawn()',
    'gmtime localtime ctime asctime': 'gmtime_r()',
    'strerror': 'strerror_r(), or FAIL() with errno',
    'rand random srand srandom': 'base/rand.h',
    'setjmp longjmp': 'results',
    'sleep usleep': 'a timer, or a condition with a deadline',
}

# Tests run on a machine of their own: they may ask the shell, and wait.
TESTS = re.compile(r'(_test|_suite|testing)\.[ch]$')
ALLOWED_IN_TESTS = {'system popen', 'sleep usleep'}

WIDTH_MAX = 140
FUNCTION_LINES_MAX = 100
FILE_LINES_MAX = 1200
FUNCTION_LINES_ASK = 70                                 # a question to answer, not an error
FILE_LINES_ASK = 800
SYSTEM_FLAGS = ['-std=gnu17', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-Wall', '-Wextra', '-Werror']


def room_of(path):
    """path: relative to src/."""
    return path.rpartition('/')[0]


def blank_out(text):
    """The same text without comments and the insides of literals; line breaks stay."""
    def gap(match):
        return '""' if match[0][0] in '"\'' else re.sub(r'[^\n]', ' ', match[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', gap, text, flags=re.DOTALL)


def functions(lines):
    """(name, first line, number of lines) of each function; the layout makes them easy to find."""
    for start, line in enumerate(lines):
        if line != '{':
            continue
        head = start
        while head > 0 and lines[head - 1].strip() and not lines[head - 1].startswith(('}', '#', ' *', '/*')):
            head -= 1
        name = re.search(r'(\w+)\(', ' '.join(lines[head:start]))
        end = next((i for i in range(start, len(lines)) if lines[i].startswith('}')), len(lines) - 1)
        yield name[1] if name else '?', head + 1, end - head + 1


class Tree:
    def __init__(self, root):
        self.root = Path(root)
        self.source = self.root / 'src'
        self.files = sorted(path for path in self.source.rglob('*.[ch]'))
        self.findings = []
        self.lengths = []

    def finding(self, path, line, text):
        self.findings.append(f'{path.relative_to(self.root)}:{line}: {text}')

    def check(self):
        for path in self.files:
            text = path.read_text(encoding='utf-8')
            lines = text.split('\n')
            allowed = {number for number, line in enumerate(lines, 1) if 'tree: allow' in line}
            before = len(self.findings)
            self.check_text(path, text, lines)
            self.check_includes(path, lines)
            self.check_calls(path, blank_out(text).split('\n'))
            self.check_lengths(path, lines)
            self.findings[before:] = [f for f in self.findings[before:] if int(f.split(':')[1]) not in allowed]
        self.check_headers()
        return self.findings

    def check_text(self, path, text, lines):
        if not text.startswith('/* ') and not path.with_suffix('.h').is_file() and not path.stem.endswith('_test'):
            self.finding(path, 1, 'a file without a header of its own opens with a comment that says what it is')
        if path.suffix == '.h' and not (text.startswith('/* ') and '\n#pragma once\n' in text):
            self.finding(path, 1, 'a header opens with its manual, then "#pragma once"')
        if not text.endswith('\n') or text.endswith('\n\n'):
            self.finding(path, len(lines), 'a file ends with one line break')
        for number, line in enumerate(lines, 1):
            if '\t' in line or line != line.rstrip():
                self.finding(path, number, 'a tab, or a blank at the end of the line')
            if len(line) > WIDTH_MAX:
                self.finding(path, number, f'{len(line)} columns; {WIDTH_MAX} are the most')

    def check_includes(self, path, lines):
        room = room_of(path.relative_to(self.source).as_posix())
        if room not in ROOMS:
            self.finding(path, 1, f'the room "{room}" is not in the list of tools/tree.py')
            return
        for number, line in enumerate(lines, 1):
            match = re.match(r'\s*#\s*include\s*"([^"]*)"', line)
            if not match:
                continue
            target = room_of(match[1])
            if not (self.source / match[1]).is_file():
                self.finding(path, number, f'"{match[1]}" is not a path from src/')
            elif target != room and target not in ROOMS[room]:
                self.finding(path, number, f'{room or "main.c"} may not use {target} (ARCHITECTURE.md, "The rooms")')

    def check_calls(self, path, lines):
        for names, instead in BANNED.items():
            if names in ALLOWED_IN_TESTS and TESTS.search(path.name):
                continue
            pattern = re.compile(r'(?<![\w.>])(%s)\s*\(' % '|'.join(names.split()))
            for number, line in enumerate(lines, 1):
                for match in pattern.finditer(line):
                    self.finding(path, number, f'{match[1]}() is not used here: {instead}')

    def check_lengths(self, path, lines):
        if len(lines) > FILE_LINES_MAX:
            self.finding(path, 1, f'{len(lines)} lines; {FILE_LINES_MAX} are the most')
        for name, line, count in functions(lines):
            self.lengths.append((count, name, f'{path.relative_to(self.root)}:{line}'))
            if count > FUNCTION_LINES_MAX:
                self.finding(path, line, f'{name}() has {count} lines; {FUNCTION_LINES_MAX} are the most')

    def check_headers(self):
        """A header compiles alone: whoever includes it needs no other line before it."""
        for path in self.files:
            if path.suffix != '.h':
                continue
            run = subprocess.run(['gcc', '-fsyntax-only', *SYSTEM_FLAGS, '-I', str(self.source), '-x', 'c', '-'],
                                 input=f'#include "{path.relative_to(self.source)}"\n', capture_output=True, text=True)
            if run.returncode:
                self.finding(path, 1, 'does not compile alone: ' + run.stderr.strip().split('\n')[0])

    def report(self):
        counts = sorted(count for count, _, _ in self.lengths)
        files = sorted(((len(path.read_text().split('\n')) - 1, path) for path in self.files), reverse=True)
        if not counts:
            return
        print(f'{len(files)} files, {len(counts)} functions: median {statistics.median(counts):g} lines, '
              f'nine in ten up to {counts[len(counts) * 9 // 10]}, longest {counts[-1]}')
        for count, name, place in sorted(self.lengths, reverse=True):
            if count >= FUNCTION_LINES_ASK:
                print(f'  {place}: {name}() has {count} lines')
        for count, path in files:
            if count >= FILE_LINES_ASK:
                print(f'  {path.relative_to(self.root)} has {count} lines')


def main(arguments):
    report = arguments[:1] == ['--report']
    tree = Tree((arguments[report:] or [Path(__file__).resolve().parent.parent])[0])
    findings = tree.check()
    if report:
        tree.report()
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
