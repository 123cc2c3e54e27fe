#!/usr/bin/env python3
"""Adds up what runs of `meson test` counted, test case by test case, and prints the last line of ./dev test.

    tools/count.py LOG...       BUILD-FOLDER/meson-logs/NAME, without the endings .json and .junit.xml"""
import json
import sys
import xml.etree.ElementTree as xml

BAD = {'FAIL', 'ERROR', 'TIMEOUT', 'INTERRUPT', 'UNEXPECTEDPASS'}


def count(log):
    passed = failed = skipped = 0
    for case in xml.parse(f'{log}.junit.xml').iter('testcase'):
        if case.find('failure') is not None or case.find('error') is not None:
            failed += 1
        elif case.find('skipped') is not None:
            skipped += 1
        else:
            passed += 1
    # A test that died or ran out of time has no failed case of its own; it is a failure all the same.
    with open(f'{log}.json', encoding='utf-8') as lines:
        results = [json.loads(line)['result'] for line in lines]
    return passed, max(failed, sum(result in BAD for result in results)), skipped


passed, failed, skipped = (sum(column) for column in zip(*map(count, sys.argv[1:])))
print(f'tests: {passed} passed, {failed} failed, {skipped} skipped')
