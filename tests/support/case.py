"""Base of the tests that share one daemon: started once for the class, checked at its end."""
import unittest

from support.daemon import Daemon
from support.registry import Registry


class DaemonTest(unittest.TestCase):
    flags = ()
    tls = False

    @classmethod
    def setUpClass(cls):
        cls.orlop = Daemon(*cls.flags, tls=cls.tls).start()

    @classmethod
    def tearDownClass(cls):
        try:
            cls.orlop.stop()
        finally:
            cls.orlop.clean()

    def setUp(self):
        self.registry = Registry(self.orlop)
        self.addCleanup(self.registry.close)
        # A repository of the test's own.
        self.repository = 't/' + self.id().rpartition('.')[2].replace('_', '-')

    def connect(self, **more):
        connection = self.orlop.connect(**more)
        self.addCleanup(connection.close)
        return connection

    def assert_alive(self):
        self.assertEqual(self.orlop.request('GET', '/v2/').status, 200)
