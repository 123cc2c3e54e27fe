#!/usr/bin/env python3
"""Lays out C files with clang-format (.clang-format), but leaves to the author what a person does better: where a line breaks, in
which column a trailing comment starts, and how a macro is written.

    tools/format.py [--check] FILE...

--check changes nothing, prints what would change, and exits 1 if anything would."""
import difflib
import re
import subprocess
import sys



def loose(line):
    """The line with single spaces, and one before a trailing comment: its indentation and its tokens."""
    body = re.sub(r'(\S)\s*(/\*)', r'\1 \2', line.strip())
    return re.match(r'\s*', line)[0] + re.sub(r'\s+', ' ', body)


def tokens(line):
    return re.sub(r'\s', '', line)


def is_taste(old, new, before):
    """True where clang-format only moves a line break or a trailing comment, or is lost in or after a macro."""
    if any(re.search(r'[ \t]\n|\t', line) for line in old):
        return False
    if any(line.startswith('#') or line.endswith('\\\n') for line in old + [before]):
        return True
    if len(old) != len(new) or any(tokens(a) != tokens(b) for a, b in zip(old, new)):
        return True
    return all(loose(a) == loose(b) or 'RESULT_FN(' in a for a, b in zip(old, new))


def formatted(path, old):
    new = subprocess.run(['clang-format', '--style=file', path], check=True, capture_output=True, text=True).stdout
    new = new.splitlines(keepends=True)
    result = []
    for _, i, i_end, j, j_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        keep = is_taste(old[i:i_end], new[j:j_end], old[i - 1] if i else '')
        result += old[i:i_end] if keep else new[j:j_end]
    return result


def main(arguments):
    check = arguments[:1] == ['--check']
    changed = 0
    for path in arguments[check:]:
        with open(path, encoding='utf-8') as file:
            old = file.readlines()
        new = formatted(path, old)
        if new == old:
            continue
        changed += 1
        if check:
            sys.stdout.writelines(difflib.unified_diff(old, new, path, path + ' (formatted)', n=1))
        else:
            with open(path, 'w', encoding='utf-8') as file:
                file.writelines(new)
            print('formatted', path)
    return 1 if check and changed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
