"""What must be true of a stopped store: SQLite's own checks, and that rows and files tell the same story."""
import hashlib
import sqlite3
from pathlib import Path


def digest_text(code):
    """Digests are stored as one byte for the algorithm and the bytes of the hash."""
    algorithm = {33: 'sha256', 65: 'sha512'}[len(code)]
    return f'{algorithm}:{code[1:].hex()}'


def hash_of(path, algorithm):
    state = hashlib.new(algorithm)
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def check_store(data):
    """Raises AssertionError with what is wrong. Returns the digests of the blobs that are stored."""
    data = Path(data)
    with sqlite3.connect(f'file:{data / "orlop.db"}?mode=ro', uri=True) as database:
        assert database.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
        assert database.execute('PRAGMA foreign_key_check').fetchall() == []
        blobs = database.execute('SELECT digest, size, upload_id, content FROM blobs').fetchall()
        trash = {upload for (upload,) in database.execute('SELECT upload_id FROM object_trash')}
        uploads = {upload for (upload,) in database.execute('SELECT id FROM uploads')}
        manifests = database.execute('SELECT digest, size, payload FROM manifests').fetchall()
    database.close()
    for code, size, payload in manifests:
        check_bytes(digest_text(code), size, payload)
    files = {path.name: path for path in (data / 'blobs').rglob('*') if path.is_file()}
    pending = {path.name: path for path in (data / 'uploads').iterdir()}
    for code, size, upload, content in blobs:
        digest = digest_text(code)
        if upload is None:
            check_bytes(digest, size, content)
            continue
        # Published, or under its upload's name until the next start finishes what a crash left.
        path = files.pop(f'{digest.partition(":")[2]}.{upload}', None) or pending.pop(upload, None)
        assert path, f'{digest} is in the database, but has no file'
        assert path.stat().st_size == size, f'{path}: {path.stat().st_size} bytes instead of {size}'
        algorithm, _, want = digest.partition(':')
        assert hash_of(path, algorithm) == want, f'{path} has other bytes than its name says'
    left = [name for name in files if name.rpartition('.')[2] not in trash]
    assert not left, f'files that no row names: {left[:5]}'
    strange = [name for name in pending if name not in uploads and name not in trash]
    assert not strange, f'uploads that no row names: {strange[:5]}'
    return {digest_text(code) for code, _, _, _ in blobs}


def check_bytes(digest, size, data):
    algorithm, _, want = digest.partition(':')
    assert len(data) == size and hashlib.new(algorithm, data).hexdigest() == want, f'{digest}: other bytes than the digest says'
