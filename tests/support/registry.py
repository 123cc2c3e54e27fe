"""A small registry client: enough of the distribution specification to bring a store into the state that a test needs."""
import hashlib
import json

OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'
OCI_EMPTY = 'application/vnd.oci.empty.v1+json'
DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json'
DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar.gzip'
DOCKER_FOREIGN_LAYER = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'


def digest_of(data, algorithm='sha256'):
    return f'{algorithm}:{hashlib.new(algorithm, data).hexdigest()}'


def descriptor(media_type, data, algorithm='sha256', **more):
    return {'mediaType': media_type, 'digest': digest_of(data, algorithm), 'size': len(data), **more}


def manifest(config, layers, media_type=OCI_MANIFEST, config_type=OCI_CONFIG, layer_type=OCI_LAYER, **more):
    """The bytes of an image manifest; config and layers are the blobs' bytes."""
    return json.dumps({'schemaVersion': 2, 'mediaType': media_type, 'config': descriptor(config_type, config),
                       'layers': [descriptor(layer_type, layer) for layer in layers], **more}).encode()


def index(manifests, media_type=OCI_INDEX, **more):
    """The bytes of an index; manifests are descriptors."""
    return json.dumps({'schemaVersion': 2, 'mediaType': media_type, 'manifests': manifests, **more}).encode()


def expect(answer, *statuses):
    assert answer.status in statuses, f'{answer.status} instead of {statuses}: {answer}'
    return answer


class Registry:
    """Over one connection, opened again when it was closed; or over any connection given."""

    def __init__(self, daemon, connection=None):
        self.daemon, self.connection = daemon, connection

    def request(self, method, target, headers=(), body=None):
        if self.connection is None:
            self.connection = self.daemon.connect()
        try:
            answer = self.connection.request(method, target, headers, body)
        except OSError:
            self.close()
            raise
        if (answer['Connection'] or '').lower() == 'close':
            self.close()
        return answer

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    # --- push ---------------------------------------------------------------------------------------------------------

    def begin_upload(self, repository, query=''):
        answer = expect(self.request('POST', f'/v2/{repository}/blobs/uploads/{query}', [('Content-Length', 0)]), 202)
        return answer['Location']

    def push_blob(self, repository, data, algorithm='sha256'):
        """POST, then PUT with the whole body."""
        digest = digest_of(data, algorithm)
        place = self.begin_upload(repository)
        expect(self.request('PUT', with_query(place, 'digest', digest), [('Content-Type', 'application/octet-stream')], data), 201)
        return digest

    def push_manifest(self, repository, reference, data, media_type=OCI_MANIFEST):
        expect(self.request('PUT', f'/v2/{repository}/manifests/{reference}', [('Content-Type', media_type)], data), 201)
        return digest_of(data)

    def push_image(self, repository, tag, config=b'{}', layers=(b'layer',), **more):
        """The manifest's bytes."""
        for blob in (config, *layers):
            self.push_blob(repository, blob)
        data = manifest(config, layers, **more)
        self.push_manifest(repository, tag, data)
        return data

    # --- pull ---------------------------------------------------------------------------------------------------------

    def blob(self, repository, digest, method='GET', headers=()):
        return self.request(method, f'/v2/{repository}/blobs/{digest}', headers)

    def manifest(self, repository, reference, method='GET', headers=()):
        return self.request(method, f'/v2/{repository}/manifests/{reference}', headers)

    def tags(self, repository, query=''):
        return self.request('GET', f'/v2/{repository}/tags/list{query}')


def with_query(location, name, value):
    return f'{location}{"&" if "?" in location else "?"}{name}={value}'
