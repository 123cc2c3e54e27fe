"""Checks tools/tree.py: that each rule finds what breaks it, and that this tree breaks none."""
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
import tree  # noqa: E402

GOOD_HEADER = '/* A header. */\n#pragma once\n\nint answer(void);\n'
GOOD_SOURCE = '#include "base/a.h"\n\nint answer(void)\n{\n        return 42;\n}\n'


class RulesTest(unittest.TestCase):
    def findings(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {'base/a.h': GOOD_HEADER, 'base/a.c': GOOD_SOURCE, **files}.items():
                path = Path(folder, 'src', name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return tree.Tree(folder).check()

    def test_a_good_tree_has_no_findings(self):
        self.assertEqual(self.findings({}), [])

    def test_each_rule_finds_what_breaks_it(self):
        body = '/* x */\n#include "base/a.h"\n'
        long_function = body + 'int f(void)\n{\n' + '        answer();\n' * tree.FUNCTION_LINES_MAX + '}\n'
        rows = [
            ('include upwards', 'base/b.c', '/* x */\n#include "oci/c.h"\n', 'base may not use oci'),
            ('include sideways', 'net/b.c', '/* x */\n#include "oci/c.h"\n', 'net may not use oci'),
            ('include not from src/', 'base/b.c', '/* x */\n#include "a.h"\n', 'not a path from src/'),
            ('unknown room', 'attic/b.c', '/* x */\n', 'the room "attic" is not in the list'),
            ('banned call', 'base/b.c', body + 'int f(char *p)\n{\n        strcpy(p, "x");\n}\n', 'strcpy() is not used here'),
            ('no manual', 'base/b.h', '#pragma once\n', 'opens with its manual'),
            ('no guard', 'base/b.h', '/* x */\n', '#pragma once'),
            ('no opening comment', 'base/b.c', '#include "base/a.h"\n', 'opens with a comment'),
            ('header that needs another', 'base/b.h', '/* x */\n#pragma once\n\nstruct holder {\n        struct slice s;\n};\n', 'does not compile alone'),
            ('tab', 'base/b.c', body + '\n\tint x;\n', 'a tab'),
            ('wide line', 'base/b.c', body + '/* ' + 'x' * tree.WIDTH_MAX + ' */\n', 'columns'),
            ('no line break at the end', 'base/b.c', body + '/* x */', 'ends with one line break'),
            ('long function', 'base/b.c', long_function, f'f() has {tree.FUNCTION_LINES_MAX + 3} lines'),
            ('long file', 'base/b.c', body + '\n' * tree.FILE_LINES_MAX + '/* x */\n', 'lines; '),
        ]
        for what, name, text, want in rows:
            with self.subTest(what):
                found = self.findings({'oci/c.h': '/* x */\n#pragma once\n', name: text})
                self.assertTrue(any(want in finding for finding in found), found)

    def test_words_in_comments_and_strings_are_no_calls(self):
        self.assertEqual(self.findings({'base/b.c': '/* strcpy() is bad */\nconst char *a = "gets()";\n'}), [])
        self.assertEqual(self.findings({'base/b.c': '/* x */\nint f(struct x *x)\n{\n        return x->system(1);\n}\n'}), [])

    def test_a_line_can_be_excused(self):
        text = '/* x */\nint f(void)\n{\n        return system("ls");    /* tree: allow, an example */\n}\n'
        self.assertEqual(self.findings({'base/b.c': text}), [])


class ThisTreeTest(unittest.TestCase):
    def test_this_tree_keeps_its_rules(self):
        self.assertEqual(tree.Tree(ROOT).check(), [])
