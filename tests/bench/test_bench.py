"""./dev bench works: every bench runs once, in its short form, against all servers that are installed. Figures are not judged."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, FOLDER)
import benches
import collect
import report
import scale


class Bench(unittest.TestCase):
    def run_bench(self, *arguments):
        with tempfile.TemporaryDirectory(prefix='orlop-bench-test-') as scratch:
            results = f'{scratch}/results.json'
            command = [sys.executable, f'{FOLDER}/bench.py', '--short', '--orlop', os.environ['ORLOP'], '--load', os.environ['BENCH_LOAD'],
                       '--floor', os.environ['BENCH_FLOOR'], '--scratch', scratch, '--results', results, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=150)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(results) as f:
                return json.load(f)

    def check(self, results, expected):
        self.assertEqual({row['name'] for row in results.values()}, expected)
        for row in results.values():
            self.assertTrue(row['peers'].keys() & {'orlop', 'small', 'alone'}, row['name'])
            for peer, sample in row['peers'].items():
                self.assertGreater(sample['value'], 0, f'{row["name"]} {row["transport"]} {peer}')

    def test_all_benches_plain(self):
        expected = {bench.name for bench in benches.all_benches() + scale.scale_benches() + collect.collect_benches()} | {'scale-start', 'size'}
        self.check(self.run_bench('--transport', 'plain'), expected)

    def test_some_over_tls(self):
        names = ['manifest-get-tag', 'pull', 'push', 'image-8', 'idle']
        expected = {bench.name for bench in benches.all_benches() if any(bench.name.startswith(name) for name in names)}
        self.check(self.run_bench('--transport', 'tls', *names), expected)

    def test_an_error_fails_the_run(self):
        """The load generator tells a wrong answer; no figure comes of it."""
        load = [os.environ['BENCH_LOAD'], 'get', 'http://127.0.0.1:9', '--path', '/', '--count', '1']
        done = subprocess.run(load, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn('connect', done.stderr)
        self.assertEqual(json.loads(done.stdout)['errors'] > 0, True)

    def test_table(self):
        results = report.Results('', True)
        bench = benches.Bench('x', 'a title', 'requests/s', None, cpu_per='request')
        results.add(bench, 'plain', {'orlop': {'value': 300.0, 'cpu': 2e-6}, 'nginx': {'value': 200.0, 'cpu': 3e-6}})
        bench.lower = True
        results.add(bench, 'tls', {'orlop': {'value': 2.0}, 'nginx': {'value': 5.0}})
        rows = list(report.table_rows(results.new))
        self.assertEqual([row[5] for row in rows], ['', '1.50', '', '2.50'])
        self.assertEqual([row[6:8] for row in rows], [['2.0 us', ''], ['3.0 us', '1.50'], ['', ''], ['', '']])
