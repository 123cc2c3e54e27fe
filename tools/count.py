#!/usr/bin/env python3
"""Adds up what `meson test` counted in the build folders given, test case by test case, and prints the last line of ./dev test.

    tools/count.py FOLDER..."""
import json
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

BAD = {'FAIL', 'ERROR', 'TIMEOUT', 'INTERRUPT', 'UNEXPECTEDPASS'}


def count(folder):
    logs = Path(folder, 'meson-logs')
    passed = failed = skipped = 0
    for case in xml.parse(logs / 'testlog.junit.xml').iter('testcase'):
        if case.find('failure') is not None or case.find('error') is not None:
            failed += 1
        elif case.find('skipped') is not None:
            skipped += 1
        else:
            passed += 1
    # A test that died or ran out of time has no failed case of its own; it is a failure all the same.
    results = [json.loads(line)['result'] for line in (logs / 'testlog.json').read_text().splitlines()]
    return passed, max(failed, sum(result in BAD for result in results)), skipped


passed, failed, skipped = (sum(column) for column in zip(*map(count, sys.argv[1:])))
print(f'tests: {passed} passed, {failed} failed, {skipped} skipped')
