#!/usr/bin/env python3
"""Runs a unittest file and reports in TAP, so that Meson counts each test and shows how it goes.

    tests/support/tap.py FILE [NAME...]

NAME is what unittest takes: Class or Class.test_name."""
import importlib.util
import sys
import time
import traceback
import unittest
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


class TapResult(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.number = 0
        self.started = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.trouble = False

    def line(self, good, name, rest=''):
        self.number += 1
        print(f'{"ok" if good else "not ok"} {self.number} - {name}{rest}', flush=True)

    def name(self, test):
        return test.id().partition('.')[2]

    def addSuccess(self, test):
        seconds = time.monotonic() - self.started
        self.line(True, self.name(test), f' ({seconds:.1f} s)' if seconds >= 1 else '')

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(True, self.name(test) if hasattr(test, '_testMethodName') else str(test), f' # SKIP {reason}')

    def report(self, test, error):
        for line in ''.join(traceback.format_exception(*error)).rstrip().split('\n'):
            print('#', line)
            print(line, file=sys.stderr)                # Meson shows this at the end

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.report(test, error)
        self.line(False, self.name(test))

    def addError(self, test, error):
        super().addError(test, error)
        self.report(test, error)
        self.line(False, self.name(test) if hasattr(test, '_testMethodName') else str(test))

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            print('# with', subtest._subDescription(), flush=True)
            self.report(subtest, error)
            self.trouble = True

    def stopTest(self, test):
        super().stopTest(test)
        if self.trouble:
            self.line(False, self.name(test))


def main(path, names):
    sys.path.insert(0, str(TESTS))
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = TapResult()
    suite.run(result)
    print(f'1..{result.number}')
    return 0 if result.wasSuccessful() and result.number else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
