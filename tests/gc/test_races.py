"""Races over HTTP: threads push, mount, pull and delete the same few blobs and images in several repositories, while the daemon
collects with times of a second. Each answer is held against a model; afterwards the disk holds what manifests name and nothing else.
tests/race/ does the same below HTTP, with more of everything. TEST_RACES_SECONDS sets the time, TEST_RACES_SEED what chance will have.

The model: each thing (a blob or a manifest in a repository, a tag) has the list of what was done with it, and each act its time from
before the request until after the answer. What an act showed is sure in a later one, unless an act that ended since it began may have
changed it, or the collector may have taken it."""
import math
import os
import random
import threading
import time
import traceback
import unittest

from support.control import collect_at_once
from support.daemon import Daemon
from support.registry import OCI_INDEX, OCI_MANIFEST, Registry, descriptor, digest_of, index, manifest, with_query
from support.store import check_store

SECONDS = float(os.environ.get('TEST_RACES_SECONDS', 10))
SEED = int(os.environ.get('TEST_RACES_SEED', random.randrange(1 << 32)))
GRACE = 1.0
FLAGS = ('--gc-grace', '1s', '--gc-interval', '1s', '--gc-trash-delay', '1s', '--upload-expiry', '2s', '--log-level', 'warn')
THREADS = 6
ACTS = 400                                              # of a thing that are remembered
REPOSITORIES = ('race/a', 'race/b', 'race/c')
TAGS = ('v1', 'v2', 'latest')
SIZES = (20, 3_000, 8_192, 8_193, 60_000, 400_000, 9_000, 30_000)
BLOBS = {digest_of(data): data for data in (random.Random(size).randbytes(size) for size in SIZES)}
# No manifest names the last two.


def make_manifests():
    """{digest: (bytes, type, parts)}: images of blobs, and an index of the first two."""
    blobs = list(BLOBS)
    found = {}
    for parts in ((0, 3), (1, 3, 4), (2, 5), (0, 1, 5)):
        names = [blobs[part] for part in parts]
        data = manifest(BLOBS[names[0]], [BLOBS[name] for name in names[1:]])
        found[digest_of(data)] = (data, OCI_MANIFEST, names)
    children = list(found)[:2]
    data = index([descriptor(OCI_MANIFEST, found[child][0]) for child in children])
    found[digest_of(data)] = (data, OCI_INDEX, children)
    return found


MANIFESTS = make_manifests()
INDEX = list(MANIFESTS)[-1]


class Act:
    """shows: what the thing was, None where it is not known. writes: what it may have become (a set; absent is False)."""

    def __init__(self, key, name, writes):
        self.key, self.name, self.writes = key, name, frozenset(writes)
        self.began, self.ended = time.monotonic(), math.inf
        self.shows, self.promise, self.status = None, 0.0, None
        self.thread = threading.current_thread().name

    def __str__(self):
        return f'{self.began:.4f} +{self.ended - self.began:.4f} {self.thread} {self.name} {" ".join(self.key)}: {self.status}'


class Model:
    def __init__(self):
        self.lock = threading.Lock()
        self.acts = {}

    def of(self, key):
        return self.acts.setdefault(key, [])

    def begin(self, key, name, writes=()):
        with self.lock:
            act = Act(key, name, writes)
            acts = self.of(key)
            if len(acts) > ACTS:
                self.forget(acts, acts[-ACTS // 2].began)
            acts.append(act)
            return act

    def forget(self, acts, until):
        """What ended before may have been anything."""
        anything = Act(acts[0].key, 'all before', {True, False, *MANIFESTS})
        anything.began = anything.ended = until
        acts[:] = [anything, *(act for act in acts if act.ended >= until)]

    def may_be_other_since(self, key, began, value):
        return any(act.ended >= began and act.writes - {value} for act in self.of(key))

    def shown(self, act, value, key=None):
        """Acts that ended before and showed this value, which nobody may have changed since."""
        key = key or act.key
        return [old for old in self.of(key)
                if old.shows == value and old.ended < act.began and not self.may_be_other_since(key, old.began, value)]

    def is_absent(self, act, key=None):
        key = key or act.key
        return not any(True in old.writes for old in self.of(key)) or bool(self.shown(act, False, key))

    def is_promised(self, act, key):
        return any(act.ended < old.began + old.promise for old in self.shown(act, True, key))

    def tag_is(self, act, repository, digest):
        """Does a tag surely point to the manifest?"""
        return any(self.shown(act, digest, ('tag', repository, tag)) for tag in TAGS)

    def manifest_is_sure(self, act, repository, digest):
        """Untagged manifests stay, unless an index that named them goes."""
        key = ('manifest', repository, digest)
        puts = [old for old in self.shown(act, True, key) if old.name == 'put']
        if self.is_promised(act, key) or (puts and (digest == INDEX or self.tag_is(act, repository, digest))):
            return True
        if digest not in MANIFESTS[INDEX][2]:
            return bool(puts)
        return self.manifest_is_sure(act, repository, INDEX) or any(
            not self.may_be_other_since(('manifest', repository, INDEX), old.began, True) for old in puts)

    def blob_is_sure(self, act, repository, digest):
        return self.is_promised(act, ('blob', repository, digest)) or any(
            digest in parts and self.manifest_is_sure(act, repository, name) for name, (_, _, parts) in MANIFESTS.items())

    def is_sure(self, act, kind, repository, digest):
        return (self.manifest_is_sure if kind == 'manifest' else self.blob_is_sure)(act, repository, digest)

    def may_be(self, act, value):
        """May a tag have this value? Not once it was shown to have another and nobody wrote this one since."""
        others = [old.began for old in self.of(act.key) if old.ended < act.began and old.shows not in (None, value)]
        last = max(others, default=0)
        return (value is False and last == 0) or any(old.ended >= last and value in old.writes for old in self.of(act.key))


class Violation(Exception):
    pass


class Racer:
    def __init__(self, race, number):
        self.race, self.model = race, race.model
        self.random = random.Random(SEED + number)
        self.registry = Registry(race.orlop)
        self.steps = 0

    # --- one request, and its end in the model ------------------------------------------------------------------------

    def ask(self, act, method, target, headers=(), body=None):
        answer = self.registry.request(method, target, headers, body)
        act.status = answer.status
        return answer

    def require(self, act, good, text):
        if not good:
            related = [str(old) for key, acts in self.model.acts.items()
                       if key == act.key or (key[1] == act.key[1] and key[0] != 'blob') for old in acts]
            raise Violation('\n'.join([f'{text}: {act}', *sorted(related)[-40:]]))

    def end(self, act, shows, promise=0.0):
        """With the model's lock held. An act that shows what it may not is a violation."""
        kind, repository, name = act.key
        act.ended = time.monotonic()
        if kind == 'tag':
            self.require(act, shows is None or act.writes or self.model.may_be(act, shows), f'it cannot be {shows}')
        elif not act.writes:
            self.require(act, not (shows and self.model.is_absent(act)), 'it is told to be there, and is not')
            self.require(act, shows or not self.model.is_sure(act, kind, repository, name), 'it is told not to be there, and must be')
        act.shows, act.promise = shows, promise
        if act.status is not None:
            self.require(act, act.status < 500, 'an answer of 5xx')

    def undo(self, act):
        act.writes = frozenset()

    # --- blobs --------------------------------------------------------------------------------------------------------

    def blob(self, repository, digest, method):
        act = self.model.begin(('blob', repository, digest), method)
        answer = self.ask(act, method, f'/v2/{repository}/blobs/{digest}')
        with self.model.lock:
            self.require(act, answer.status in (200, 404), 'an answer that nobody expects')
            self.require(act, method == 'HEAD' or answer.status == 404 or answer.body == BLOBS[digest], 'other bytes')
            self.end(act, answer.status == 200, GRACE / 2)
        return answer.status == 200

    def send(self, repository, digest, place):
        act = self.model.begin(('blob', repository, digest), 'upload', {True})
        data = BLOBS[digest]
        if self.random.random() < 0.3:
            half = len(data) // 2
            answer = self.ask(act, 'PATCH', place, [('Content-Type', 'application/octet-stream')], data[:half])
            self.require(act, answer.status == 202, 'a piece was refused')
            place, data = answer['Location'], data[half:]
        # The time that is promised begins with the last request.
        began = time.monotonic()
        answer = self.ask(act, 'PUT', with_query(place, 'digest', digest), [('Content-Type', 'application/octet-stream')], data)
        with self.model.lock:
            self.require(act, answer.status == 201, 'the upload was refused')
            self.end(act, True, GRACE + began - act.began)

    def upload(self, repository, digest):
        self.send(repository, digest, self.registry.begin_upload(repository))

    def leave_upload(self, repository, digest):
        """For the collector; or cancelled."""
        place = self.registry.begin_upload(repository)
        answer = self.registry.request('PATCH', place, [('Content-Type', 'application/octet-stream')], BLOBS[digest])
        assert answer.status == 202, answer
        if self.random.random() < 0.5:
            answer = self.registry.request('DELETE', answer['Location'])
            assert answer.status == 204, answer

    def mount(self, source, repository, digest):
        """The session that comes where nothing can be mounted is used."""
        here = self.model.begin(('blob', source, digest), 'mount from')
        act = self.model.begin(('blob', repository, digest), 'mount', {True})
        answer = self.ask(act, 'POST', f'/v2/{repository}/blobs/uploads/?mount={digest}&from={source}', [('Content-Length', 0)])
        with self.model.lock:
            self.require(act, answer.status in (201, 202), 'an answer that nobody expects')
            if answer.status == 202:
                self.undo(act)
            self.end(act, True if answer.status == 201 else None, GRACE) if act.writes else self.drop(act)
            self.end(here, answer.status == 201)
        if answer.status == 202:
            self.send(repository, digest, answer['Location'])

    def drop(self, act):
        self.model.of(act.key).remove(act)

    def delete_blob(self, repository, digest):
        act = self.model.begin(('blob', repository, digest), 'delete', {False})
        answer = self.ask(act, 'DELETE', f'/v2/{repository}/blobs/{digest}')
        with self.model.lock:
            act.ended = time.monotonic()
            named = [name for name, (_, _, parts) in MANIFESTS.items() if digest in parts]
            if answer.status == 202:
                self.require(act, not self.model.is_absent(act), 'it was deleted, and was not there')
                self.require(act, not any(self.model.manifest_is_sure(act, repository, name) for name in named),
                             'deleted, and a manifest names it')
                self.end(act, False)
                return
            self.undo(act)
            if answer.status == 404:
                self.end(act, False)
                return
            self.require(act, answer.status == 405, 'an answer that nobody expects')
            self.require(act, not all(self.model.is_absent(act, ('manifest', repository, name)) for name in named),
                         'denied, and nothing names it')
            self.drop(act)

    # --- manifests ----------------------------------------------------------------------------------------------------

    def put(self, repository, digest, tag):
        data, media_type, parts = MANIFESTS[digest]
        act = self.model.begin(('manifest', repository, digest), 'put', {True})
        tagging = tag and self.model.begin(('tag', repository, tag), 'put', {digest})
        answer = self.ask(act, 'PUT', f'/v2/{repository}/manifests/{tag or digest}', [('Content-Type', media_type)], data)
        kind = 'manifest' if digest == INDEX else 'blob'
        with self.model.lock:
            act.ended = time.monotonic()
            if answer.status == 201:
                for part in parts:
                    self.require(act, not self.model.is_absent(act, (kind, repository, part)), f'accepted without {part}')
            else:
                self.undo(act)
                sure = all(self.model.is_sure(act, kind, repository, part) for part in parts)
                self.require(act, answer.status == 404 and not sure, f'refused: {answer.body!r}')
                self.drop(act)
                if tagging:
                    self.drop(tagging)
                return
            self.end(act, True, GRACE)
            if tagging:
                tagging.status = answer.status
                self.end(tagging, digest)

    def get(self, repository, reference):
        """The manifest's digest, or None."""
        kind = 'tag' if reference in TAGS else 'manifest'
        act = self.model.begin((kind, repository, reference), 'get')
        answer = self.ask(act, 'GET', f'/v2/{repository}/manifests/{reference}')
        with self.model.lock:
            self.require(act, answer.status in (200, 404), 'an answer that nobody expects')
            found = answer['Docker-Content-Digest'] if answer.status == 200 else None
            self.require(act, not found or answer.body == MANIFESTS[found][0], 'other bytes')
            self.end(act, (found or False) if kind == 'tag' else bool(found), GRACE / 2)
        return found

    def delete(self, repository, digest):
        """Its tags go as well; which, is not known."""
        act = self.model.begin(('manifest', repository, digest), 'delete', {False})
        untags = [self.model.begin(('tag', repository, tag), 'delete', {False}) for tag in TAGS]
        answer = self.ask(act, 'DELETE', f'/v2/{repository}/manifests/{digest}')
        with self.model.lock:
            act.ended = time.monotonic()
            for untag in untags:
                if answer.status == 202 and self.model.may_be(untag, digest):
                    self.end(untag, None)
                else:
                    self.drop(untag)
            if answer.status != 202:
                self.undo(act)
            if answer.status in (202, 404):
                self.require(act, answer.status == 404 or not self.model.is_absent(act), 'it was deleted, and was not there')
                self.end(act, False)
                return
            self.require(act, answer.status == 405 and digest in MANIFESTS[INDEX][2], 'an answer that nobody expects')
            self.require(act, not self.model.is_absent(act, ('manifest', repository, INDEX)), 'denied, and no index is there')
            self.drop(act)

    def delete_tag(self, repository, tag):
        act = self.model.begin(('tag', repository, tag), 'delete', {False})
        answer = self.ask(act, 'DELETE', f'/v2/{repository}/manifests/{tag}')
        with self.model.lock:
            self.require(act, answer.status in (202, 404), 'an answer that nobody expects')
            if answer.status == 404:
                self.undo(act)
            self.end(act, False)

    # --- what takes several requests ----------------------------------------------------------------------------------

    def push(self, repository, digest, tag):
        for part in MANIFESTS[digest][2]:
            if digest == INDEX:
                self.push(repository, part, None)
            elif not self.blob(repository, part, 'HEAD'):
                self.bring(repository, part)
        if self.random.random() < 0.3:
            time.sleep(self.random.random() * GRACE * 0.4)
        self.put(repository, digest, tag)

    def bring(self, repository, digest):
        if self.random.random() < 0.5:
            self.mount(self.random.choice(REPOSITORIES), repository, digest)
        else:
            self.upload(repository, digest)

    def pull(self, repository, reference):
        found = self.get(repository, reference)
        for part in MANIFESTS[found][2] if found else ():
            if found == INDEX:
                self.pull(repository, part)
            else:
                self.blob(repository, part, 'GET')

    def step(self):
        repository, digest, tag = self.random.choice(REPOSITORIES), self.random.choice(list(MANIFESTS)), self.random.choice(TAGS)
        blob = self.random.choice(list(BLOBS))
        steps = ((14, self.push, (repository, digest, self.random.choice((tag, None)))),
                 (20, self.pull, (repository, self.random.choice((tag, digest)))),
                 (15, self.blob, (repository, blob, self.random.choice(('HEAD', 'GET')))),
                 (5, self.bring, (repository, blob)), (2, self.leave_upload, (repository, blob)),
                 (6, self.delete_blob, (repository, blob)), (8, self.delete, (repository, digest)),
                 (3, self.delete_tag, (repository, tag)))
        _, what, arguments = self.random.choices(steps, [weight for weight, _, _ in steps])[0]
        what(*arguments)
        self.steps += 1


class Race:
    def __init__(self, orlop):
        self.orlop, self.model, self.errors = orlop, Model(), []

    def run(self, racer, until):
        try:
            while time.monotonic() < until and not self.errors:
                racer.step()
        except BaseException:
            self.errors.append(traceback.format_exc())

    def start(self, seconds):
        until = time.monotonic() + seconds
        racers = [Racer(self, number) for number in range(THREADS)]
        threads = [threading.Thread(target=self.run, args=(racer, until), name=f'racer-{number}')
                   for number, racer in enumerate(racers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for racer in racers:
            racer.registry.close()
        return sum(racer.steps for racer in racers)


class RacesTest(unittest.TestCase):
    def kept(self, orlop):
        """Blobs that manifests name, in any repository."""
        found = set()
        with Registry(orlop) as registry:
            for repository in REPOSITORIES:
                for digest, (data, _, parts) in MANIFESTS.items():
                    answer = registry.manifest(repository, digest)
                    self.assertIn(answer.status, (200, 404))
                    if answer.status == 200 and digest != INDEX:
                        found |= set(parts)
                        self.assertEqual(answer.body, data)
                    for part in parts if answer.status == 200 else ():
                        ask = registry.manifest if digest == INDEX else registry.blob
                        self.assertEqual(ask(repository, part).status, 200, f'{digest} of {repository} lost {part}')
        return found

    def test_no_answer_is_wrong_and_nothing_is_left(self):
        print(f'# seed {SEED}', flush=True)
        with Daemon(*FLAGS) as orlop:
            race = Race(orlop)
            steps = race.start(SECONDS)
            self.assertEqual(race.errors, [], f'seed {SEED}\n{"".join(race.errors[:1])}')
            print(f'# {steps} steps in {SECONDS:g} s', flush=True)
            self.assertGreater(steps, THREADS)
            collect_at_once(orlop.data)
            kept = self.kept(orlop)
            orlop.stop()
            self.assertNotRegex(orlop.log(), r'(?m)^\S+ (error|warn)')
            self.assertEqual(check_store(orlop.data), kept)
            files = {path.name.partition('.')[0] for path in (orlop.data / 'blobs').rglob('*') if path.is_file()}
            self.assertEqual(files, {digest.partition(':')[2] for digest in kept if len(BLOBS[digest]) > 8192})
            self.assertEqual(list((orlop.data / 'uploads').iterdir()), [])


if __name__ == '__main__':
    unittest.main()
