"""The servers that are compared: each is started on loopback with a folder of its own, and stopped again."""

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse

import measure

NGINX_CONF = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes auto;
worker_rlimit_nofile 20000;
events {{ worker_connections 8000; }}
http {{
  # As Debian has it (/etc/nginx/nginx.conf), but without the access log, the limit of requests on a connection, and with TLS
  # 1.2 and 1.3 alone. It opens the file for each request: with open_file_cache it needs a fifth less CPU for small ones.
  sendfile on;
  tcp_nopush on;
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port}{tls};
    root {folder}/htdocs;
    default_type application/octet-stream;
    location = /v2/ {{ default_type application/json; return 200 '{{}}'; }}
    location ~ /manifests/ {{ default_type application/vnd.oci.image.manifest.v1+json; }}
  }}
}}
"""

REGISTRY_CONF = """
version: 0.1
log: {{fields: {{service: registry}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  filesystem: {{rootdirectory: {folder}/data}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
  headers: {{X-Content-Type-Options: [nosniff]}}{tls}
health: {{storagedriver: {{enabled: true, interval: 10s, threshold: 3}}}}
"""


def unverified():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(url, timeout=120):
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=unverified())
    return http.client.HTTPConnection(parts.netloc, timeout=timeout)


def make_certificate(folder):
    """A certificate for the peers that make none themselves: P-256, as Orlop's own."""
    key, certificate = f"{folder}/peer.key", f"{folder}/peer.crt"
    if not os.path.exists(certificate):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", key, "-out", certificate], check=True, capture_output=True)
        os.chmod(key, 0o644)
    return key, certificate


def put_file(path, pieces):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        for piece in pieces:
            f.write(piece)


class Peer:
    """start(), then url, pids(); stop() removes what it stored unless it is told to keep it."""

    pushes = True
    process = None

    def __init__(self, name, root, port):
        self.name, self.port = name, port
        self.root = root
        self.folder = f"{root}/{name}"
        self.tls = False
        self.ready_ms = None

    def command(self):
        raise NotImplementedError

    def start(self, tls=False):
        self.tls = tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        os.makedirs(self.folder, exist_ok=True)
        command = self.command()
        with open(f"{self.folder}/log", "ab") as log:
            began = time.monotonic()
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.wait_ready(began)

    def wait_ready(self, began):
        """Until a request is answered: a probe each half millisecond, over plain TCP until the port is open."""
        while time.monotonic() < began + 60:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at start; see {self.folder}/log")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                connection = connect(self.url, timeout=5)
                connection.request("GET", "/v2/")
                if connection.getresponse().status == 200:
                    self.ready_ms = (time.monotonic() - began) * 1000
                    connection.close()
                    return
            except OSError:
                time.sleep(0.0005)
        raise RuntimeError(f"{self.name} is not ready after 60 s; see {self.folder}/log")

    def pids(self):
        return measure.descendants(self.process.pid)

    def stop(self, keep=False):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


class Orlop(Peer):
    options = ()

    def __init__(self, name, root, port, program):
        super().__init__(name, root, port)
        self.program = program

    def command(self):
        return [self.program, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", f"{self.folder}/data",
                "--tls", "auto" if self.tls else "off", *self.options]


class DockerRegistry(Peer):
    def command(self):
        tls = ""
        if self.tls:
            key, certificate = make_certificate(self.root)
            tls = f"\n  tls: {{certificate: {certificate}, key: {key}}}"
        with open(f"{self.folder}/config.yml", "w") as f:
            f.write(REGISTRY_CONF.format(folder=self.folder, port=self.port, tls=tls))
        return ["docker-registry", "serve", f"{self.folder}/config.yml"]


class Nginx(Peer):
    pushes = False

    def command(self):
        tls = ""
        if self.tls:
            key, certificate = make_certificate(self.root)
            tls = f" ssl;\n    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3"
        # Its workers are another user's when it is started by root.
        for folder in (self.root, self.folder, f"{self.folder}/htdocs"):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, 0o755)
        with open(f"{self.folder}/nginx.conf", "w") as f:
            f.write(NGINX_CONF.format(folder=self.folder, port=self.port, tls=tls))
        return ["/usr/sbin/nginx", "-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"]

    def put_file(self, path, pieces):
        put_file(f"{self.folder}/htdocs{path}", pieces)


class Floor(Peer):
    """The least that a server can do (floor.c): small answers from memory, and one hash, one write and one sync of what is pushed."""

    pushes = False

    def __init__(self, name, root, port, program):
        super().__init__(name, root, port)
        self.program = program

    def command(self):
        files = f"{self.folder}/files"
        os.makedirs(files, exist_ok=True)
        certificate = list(reversed(make_certificate(self.root))) if self.tls else []
        return [self.program, str(self.port), files, *certificate]

    def put_file(self, path, pieces):
        put_file(f"{self.folder}/files{path}", pieces)


class Running(Peer):
    """A registry that somebody else started (--peer NAME=URL): only what it answers can be measured."""

    def __init__(self, name, url):
        super().__init__(name, "/nonexistent", 0)
        self.url = url.rstrip("/")
        self.tls = url.startswith("https:")

    def start(self, tls=False):
        connection = connect(self.url)
        connection.request("GET", "/v2/")
        if connection.getresponse().status != 200:
            raise RuntimeError(f"{self.name}: GET {self.url}/v2/ is not 200")

    def pids(self):
        return []

    def stop(self, keep=False):
        pass
