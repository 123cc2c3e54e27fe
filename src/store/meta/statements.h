/* Every query of the store, by name. $1, $2 … are parameters (db.c turns them into SQLite's ?1, ?2 …). Plain SQL that PostgreSQL
 * takes as well: no pragma, no vendor's function, "CAST($1 AS BIGINT)" in select lists, "RETURNING id", byte order by column.
 * Each finds its rows by an index; a test reads the query plans. */
#pragma once

#define MANIFEST_COLUMNS "m.digest, m.size, m.created_us, m.media_type, m.artifact_type, m.annotations, m.subject"
#define MANIFEST_COLUMNS_OF_ONE "m.digest, m.size, m.created_us, m.media_type, m.artifact_type, NULL, m.subject"
enum { MANIFEST_COLUMN_TYPE = 4, MANIFEST_COLUMN_PAYLOAD = 7 };
enum { REFERRER_COLUMN_ID = 7 };
enum { MANIFEST_COLUMN_SINCE = 8, MANIFEST_COLUMN_ORPHANED, MANIFEST_COLUMN_ID };
#define MANIFEST_OF_DIGEST \
        "q.since_us, q.orphaned, m.id FROM repositories r JOIN manifests m ON m.repository_id = r.id AND m.digest = $2 " \
        "LEFT JOIN gc_manifest_queue q ON q.manifest_id = m.id WHERE r.name = $1"
#define MANIFEST_OF_TAG \
        "FROM repositories r JOIN tags t ON t.repository_id = r.id AND t.name = $2 JOIN manifests m ON m.id = t.manifest_id " \
        "WHERE r.name = $1"

#define GC_BLOB_COLUMNS "q.id, q.blob_id, q.repository_id, q.since_us, r.name, b.digest, b.size, b.upload_id, l.since_us"
enum { GC_BLOB_COLUMN_LINKS = 9 };      /* of GC_BLOBS: links of the blob, those that may go, which of them it is (last: 1) */
#define GC_BLOB_JOINS \
        "LEFT JOIN repositories r ON r.id = q.repository_id LEFT JOIN blobs b ON b.id = q.blob_id " \
        "LEFT JOIN repository_blobs l ON l.blob_id = q.blob_id AND l.repository_id = q.repository_id"
#define GC_BLOB_SINCE_BOTH "CASE WHEN l.since_us > q.since_us THEN l.since_us ELSE q.since_us END"

#define META_STATEMENTS(X) \
        /* transactions: SQLite's own words */ \
        X(BEGIN, "BEGIN IMMEDIATE") \
        X(COMMIT, "COMMIT") \
        X(ROLLBACK, "ROLLBACK") \
        /* repositories */ \
        X(REPOSITORY_FIND, "SELECT id, has_manifests FROM repositories WHERE name = $1") \
        X(REPOSITORY_NAME, "SELECT name FROM repositories WHERE id = $1") \
        X(REPOSITORY_ADD, "INSERT INTO repositories (name, has_manifests, created_us) VALUES ($1, 0, $2) RETURNING id") \
        X(REPOSITORY_LIST, "UPDATE repositories SET has_manifests = 1 WHERE id = $1") \
        X(REPOSITORY_UNLIST, "UPDATE repositories SET has_manifests = 0 WHERE id = $1") \
        X(REPOSITORY_PAGE, "SELECT name FROM repositories WHERE has_manifests = 1 AND name > $1 ORDER BY name LIMIT $2") \
        /* uploads */ \
        X(UPLOAD_ADD, "INSERT INTO uploads (id, repository_id, received, hash_state, created_us, updated_us) " \
                      "VALUES ($1, $2, 0, $3, $4, $4)") \
        X(UPLOAD_GET, "SELECT u.repository_id, u.received, u.hash_state, u.created_us, u.updated_us FROM uploads u " \
                      "JOIN repositories r ON r.id = u.repository_id WHERE u.id = $1 AND r.name = $2") \
        X(UPLOAD_REPOSITORY, "SELECT u.repository_id FROM uploads u JOIN repositories r ON r.id = u.repository_id " \
                             "WHERE u.id = $1 AND r.name = $2") \
        X(UPLOAD_SAVE, "UPDATE uploads SET received = $2, hash_state = $3, updated_us = $4 WHERE id = $1") \
        X(UPLOAD_REMOVE, "DELETE FROM uploads WHERE id = $1") \
        X(UPLOAD_EXISTS, "SELECT 1 FROM uploads WHERE id = $1") \
        /* blobs */ \
        X(BLOB_OF_UPLOAD, "SELECT digest FROM blobs WHERE upload_id = $1") \
        X(BLOB_FIND, "SELECT id, damaged_us, upload_id, size FROM blobs WHERE digest = $1") \
        X(BLOB_ADD, "INSERT INTO blobs (digest, size, upload_id, content, created_us) VALUES ($1, $2, $3, $4, $5) RETURNING id") \
        X(BLOB_GET, "SELECT b.id, b.size, b.upload_id, l.repository_id, l.since_us, b.damage FROM repositories r " \
                    "LEFT JOIN blobs b ON b.digest = $2 " \
                    "LEFT JOIN repository_blobs l ON l.blob_id = b.id AND l.repository_id = r.id WHERE r.name = $1") \
        X(BLOB_CONTENTS, "SELECT digest, content FROM blobs WHERE id > $1 AND content IS NOT NULL ORDER BY id") \
        X(OBJECTS, "SELECT digest, upload_id, size FROM blobs WHERE id > $1 AND upload_id IS NOT NULL ORDER BY id") \
        X(BLOB_CONTENT, "SELECT content FROM blobs WHERE id = $1 AND digest = $2") \
        X(BLOB_REPLACE, "UPDATE blobs SET size = $2, upload_id = $3, content = $4, damaged_us = NULL, damage = NULL WHERE id = $1") \
        X(BLOB_REMOVE, "DELETE FROM blobs WHERE id = $1") \
        X(BLOB_IS_LINKED, "SELECT 1 FROM repository_blobs WHERE blob_id = $1 LIMIT 1") \
        X(BLOB_IN_USE, "SELECT 1 FROM manifest_blobs WHERE blob_id = $1 AND repository_id = $2 LIMIT 1") \
        X(LINK_FIND, "SELECT b.id, b.size FROM blobs b " \
                     "JOIN repository_blobs l ON l.blob_id = b.id AND l.repository_id = $1 " \
                     "WHERE b.digest = $2 AND b.damaged_us IS NULL") \
        X(LINK_FIND_EVEN_DAMAGED, "SELECT b.id FROM blobs b " \
                                  "JOIN repository_blobs l ON l.blob_id = b.id AND l.repository_id = $1 WHERE b.digest = $2") \
        X(LINK_ANYWHERE, "SELECT b.id FROM blobs b WHERE b.digest = $1 AND b.damaged_us IS NULL " \
                         "AND EXISTS (SELECT 1 FROM repository_blobs l WHERE l.blob_id = b.id)") \
        X(LINK_ADD, "INSERT INTO repository_blobs (blob_id, repository_id, since_us) VALUES ($1, $2, $3) " \
                    "ON CONFLICT (blob_id, repository_id) DO UPDATE SET since_us = excluded.since_us") \
        X(LINK_TOUCH, "UPDATE repository_blobs SET since_us = $3 WHERE blob_id = $1 AND repository_id = $2") \
        X(LINK_TOUCH_PARTS, "UPDATE repository_blobs SET since_us = $2 WHERE (blob_id, repository_id) IN " \
                            "(SELECT blob_id, repository_id FROM manifest_blobs WHERE manifest_id = $1)") \
        X(LINK_REMOVE, "DELETE FROM repository_blobs WHERE blob_id = $1 AND repository_id = $2") \
        X(BLOB_QUEUE, "INSERT INTO gc_blob_queue (blob_id, repository_id, since_us) VALUES ($1, $2, $3)") \
        X(BLOB_QUEUE_PARTS, "INSERT INTO gc_blob_queue (blob_id, repository_id, since_us) " \
                            "SELECT blob_id, repository_id, CAST($2 AS BIGINT) FROM manifest_blobs WHERE manifest_id = $1") \
        /* manifests */ \
        X(MANIFEST_FIND, "SELECT id, size, media_type FROM manifests WHERE repository_id = $1 AND digest = $2") \
        X(MANIFEST_ADD, "INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject, annotations, size, " \
                        "created_us, payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id") \
        X(MANIFEST_MEND, "UPDATE manifests SET payload = $2 WHERE id = $1 AND payload <> $2") \
        X(MANIFEST_SET_TYPE, "UPDATE manifests SET media_type = $2 WHERE id = $1") \
        X(MANIFEST_ADD_BLOB, "INSERT INTO manifest_blobs (manifest_id, blob_id, repository_id) VALUES ($1, $2, $3) " \
                             "ON CONFLICT (manifest_id, blob_id) DO NOTHING") \
        X(MANIFEST_ADD_CHILD, "INSERT INTO manifest_references (parent_id, child_id) VALUES ($1, $2) " \
                              "ON CONFLICT (parent_id, child_id) DO NOTHING") \
        X(MANIFEST_BY_DIGEST, "SELECT " MANIFEST_COLUMNS_OF_ONE ", NULL, " MANIFEST_OF_DIGEST) \
        X(MANIFEST_BY_DIGEST_WHOLE, "SELECT " MANIFEST_COLUMNS_OF_ONE ", m.payload, " MANIFEST_OF_DIGEST) \
        X(MANIFEST_BY_TAG, "SELECT " MANIFEST_COLUMNS_OF_ONE " " MANIFEST_OF_TAG) \
        X(MANIFEST_BY_TAG_WHOLE, "SELECT " MANIFEST_COLUMNS_OF_ONE ", m.payload " MANIFEST_OF_TAG) \
        X(MANIFEST_PAYLOADS, "SELECT digest, payload FROM manifests WHERE id > $1 ORDER BY id") \
        X(MANIFEST_SUBJECT, "SELECT subject FROM manifests WHERE id = $1") \
        X(MANIFEST_IS_CHILD, "SELECT 1 FROM manifest_references WHERE child_id = $1 LIMIT 1") \
        X(MANIFEST_AFTER, "SELECT id, digest, size FROM manifests WHERE repository_id = $1 AND digest > $2 ORDER BY digest LIMIT 1") \
        X(MANIFEST_ANY, "SELECT 1 FROM manifests WHERE repository_id = $1 LIMIT 1") \
        X(MANIFEST_REMOVE, "DELETE FROM manifests WHERE id = $1") \
        X(MANIFEST_REMOVE_BLOBS, "DELETE FROM manifest_blobs WHERE manifest_id = $1") \
        X(MANIFEST_REMOVE_CHILDREN, "DELETE FROM manifest_references WHERE parent_id = $1") \
        X(MANIFEST_QUEUE, "INSERT INTO gc_manifest_queue (manifest_id, orphaned, since_us) VALUES ($1, 0, $2) " \
                          "ON CONFLICT (manifest_id) DO UPDATE SET orphaned = 0, since_us = excluded.since_us") \
        X(MANIFEST_QUEUE_CHILDREN, "INSERT INTO gc_manifest_queue (manifest_id, orphaned, since_us) " \
                                   "SELECT child_id, 1, CAST($2 AS BIGINT) FROM manifest_references WHERE parent_id = $1 " \
                                   "ON CONFLICT (manifest_id) DO UPDATE SET orphaned = 1, since_us = excluded.since_us") \
        X(MANIFEST_QUEUE_REFERRERS, "INSERT INTO gc_manifest_queue (manifest_id, orphaned, since_us) " \
                                    "SELECT id, 1, CAST($3 AS BIGINT) FROM manifests WHERE repository_id = $1 AND subject = $2 " \
                                    "ON CONFLICT (manifest_id) DO UPDATE SET orphaned = 1, since_us = excluded.since_us") \
        X(MANIFEST_PUSHED_AGAIN, "UPDATE gc_manifest_queue SET orphaned = 0, since_us = $2 WHERE manifest_id = $1") \
        X(MANIFEST_TOUCH, "UPDATE gc_manifest_queue SET since_us = $2 WHERE manifest_id = $1") \
        X(MANIFEST_UNQUEUE, "DELETE FROM gc_manifest_queue WHERE manifest_id = $1") \
        X(REFERRER_PAGE, "SELECT " MANIFEST_COLUMNS " FROM repositories r JOIN manifests m ON m.repository_id = r.id " \
                         "AND m.subject = $2 AND m.digest > $3 WHERE r.name = $1 ORDER BY m.digest") \
        /* no more of a row than its index has */ \
        X(REFERRER_TYPES, "SELECT m.digest, 0, 0, NULL, m.artifact_type, NULL, NULL, m.id FROM repositories r " \
                          "JOIN manifests m ON m.repository_id = r.id AND m.subject = $2 AND m.digest > $3 " \
                          "WHERE r.name = $1 ORDER BY m.digest") \
        X(REFERRER_BY_ID, "SELECT " MANIFEST_COLUMNS " FROM manifests m WHERE m.id = $1") \
        /* tags */ \
        X(TAG_FIND, "SELECT manifest_id FROM tags WHERE repository_id = $1 AND name = $2") \
        X(TAG_SET, "INSERT INTO tags (repository_id, name, manifest_id, updated_us) VALUES ($1, $2, $3, $4) " \
                   "ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id, " \
                   "updated_us = excluded.updated_us") \
        X(TAG_REMOVE, "DELETE FROM tags WHERE repository_id = $1 AND name = $2") \
        X(TAGGED, "SELECT m.id, m.digest, m.subject FROM tags t JOIN manifests m ON m.id = t.manifest_id " \
                  "WHERE t.repository_id = $1 AND t.name = $2") \
        X(TAG_OF_MANIFEST, "SELECT 1 FROM tags WHERE manifest_id = $1 LIMIT 1") \
        X(TAG_PAGE, "SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3") \
        X(TAGS_OF_MANIFEST, "SELECT name FROM tags WHERE manifest_id = $1") \
        X(TAGS_REMOVE_OF_MANIFEST, "DELETE FROM tags WHERE manifest_id = $1") \
        /* collection: collect.c */ \
        X(GC_BLOB_FIRST, "SELECT " GC_BLOB_COLUMNS " FROM gc_blob_queue q " GC_BLOB_JOINS " WHERE q.id > 0 ORDER BY q.id LIMIT 1") \
        X(GC_BLOB_SINCE, "SELECT since_us FROM gc_blob_queue WHERE id > 0 ORDER BY id LIMIT 1") \
        X(GC_MANIFEST_DUE, "SELECT 1 FROM gc_manifest_queue WHERE orphaned = $1 AND since_us <= $2 LIMIT 1") \
        X(GC_BLOB_REVIEWED, "DELETE FROM gc_blob_queue WHERE id = $1") \
        X(GC_MANIFEST_NEXT, "SELECT q.manifest_id, q.since_us, m.repository_id, r.name, m.digest, m.size, m.subject " \
                            "FROM gc_manifest_queue q JOIN manifests m ON m.id = q.manifest_id " \
                            "JOIN repositories r ON r.id = m.repository_id " \
                            "WHERE q.orphaned = $1 AND q.since_us <= $2 AND (q.since_us, q.manifest_id) > ($3, $4) " \
                            "ORDER BY q.since_us, q.manifest_id LIMIT 1") \
        X(TRASH_ADD, "INSERT INTO object_trash (upload_id, digest, size, since_us) VALUES ($1, $2, $3, $4)") \
        X(TRASH_PAGE, "SELECT upload_id, digest, size, since_us FROM object_trash WHERE since_us <= $1 ORDER BY since_us LIMIT $2") \
        X(TRASH_REMOVE, "DELETE FROM object_trash WHERE upload_id = $1") \
        X(UPLOAD_EXPIRE, "DELETE FROM uploads WHERE id = $1 AND updated_us <= $2") \
        /* checks: check.c */ \
        X(OBJECT_OF_BLOB, "SELECT 1 FROM blobs WHERE upload_id = $1 AND digest = $2") \
        X(OBJECT_IN_TRASH, "SELECT 1 FROM object_trash WHERE upload_id = $1 AND digest = $2") \
        X(BLOB_SIZE, "SELECT id, size, damaged_us FROM blobs WHERE digest = $1") \
        X(HAS_BLOB, "SELECT 1 FROM manifest_blobs WHERE manifest_id = $1 AND blob_id = $2") \
        X(HAS_CHILD, "SELECT 1 FROM manifest_references WHERE parent_id = $1 AND child_id = $2") \
        /* rebuilding: salvage.c, adopt.c */ \
        X(NEW_BLOB, "INSERT INTO blobs (digest, size, upload_id, content, created_us, damaged_us, damage) " \
                    "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id") \
        X(NEW_LINK, "INSERT INTO repository_blobs (blob_id, repository_id, since_us) VALUES ($1, $2, $3) " \
                    "ON CONFLICT (blob_id, repository_id) DO NOTHING") \
        X(NEW_REVIEW, "INSERT INTO gc_manifest_queue (manifest_id, orphaned, since_us) VALUES ($1, $2, $3) " \
                      "ON CONFLICT (manifest_id) DO NOTHING") \
        X(NEW_TRASH, "INSERT INTO object_trash (upload_id, digest, size, since_us) VALUES ($1, $2, $3, $4) " \
                     "ON CONFLICT (upload_id) DO NOTHING") \
        X(NEW_UPLOAD, "INSERT INTO uploads (id, repository_id, received, hash_state, created_us, updated_us) " \
                      "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING") \
        X(BLOB_IS_NAMED, "SELECT 1 FROM manifest_blobs WHERE blob_id = $1 LIMIT 1") \
        X(LINKS_REMOVE, "DELETE FROM repository_blobs WHERE blob_id = $1") \
        /* damage and scrub: damage.c */ \
        X(BLOB_MARK, "UPDATE blobs SET damaged_us = $3, damage = $4 " \
                     "WHERE digest = $1 AND upload_id IS NOT DISTINCT FROM $2 AND damaged_us IS NULL") \
        X(BLOB_UNMARK, "UPDATE blobs SET damaged_us = NULL, damage = NULL WHERE digest = $1 AND upload_id IS NOT DISTINCT FROM $2") \
        X(STORED_NEXT, "SELECT id, digest, size, upload_id, content, damaged_us FROM blobs WHERE id > $1 ORDER BY id LIMIT 1") \
        X(MANIFEST_NEXT, "SELECT " MANIFEST_COLUMNS ", m.payload, m.id, r.name FROM manifests m " \
                         "JOIN repositories r ON r.id = m.repository_id WHERE m.id > $1 ORDER BY m.id LIMIT 1") \
        X(SCRUB_GET, "SELECT last_blob_id, started_us, ended_us, bytes FROM scrub WHERE id = 1") \
        X(SCRUB_PUT, "UPDATE scrub SET last_blob_id = $1, started_us = $2, ended_us = $3, bytes = $4 WHERE id = 1") \
        /* the store */ \
        X(PROBE, "UPDATE probes SET written_us = $1 WHERE id = 1")

/* Those that walk a table, because they are asked for seldom: by a person, or of a table that is small (uploads that run). */
#define META_SURVEYS(X) \
        /* of a database that may be damaged (source.h): $1 is the least key; the indexes named here hold the names a second time */ \
        X(OLD_REPOSITORIES, "SELECT id, name, created_us FROM repositories WHERE id >= $1 ORDER BY id") \
        X(OLD_REPOSITORY_NAMES, "SELECT id, name, 0 FROM repositories INDEXED BY sqlite_autoindex_repositories_1 " \
                                "WHERE id >= $1 AND name > '' ORDER BY id") \
        X(OLD_BLOBS, "SELECT id, digest, size, upload_id, content, created_us, damaged_us, damage FROM blobs WHERE id >= $1 " \
                     "ORDER BY id") \
        X(OLD_MANIFESTS, "SELECT id, repository_id, digest, media_type, artifact_type, subject, annotations, created_us, payload " \
                         "FROM manifests WHERE id >= $1 ORDER BY id") \
        X(OLD_MANIFEST_NAMES, "SELECT repository_id, id, digest FROM manifests INDEXED BY sqlite_autoindex_manifests_1 " \
                              "WHERE repository_id >= $1 ORDER BY repository_id") \
        X(OLD_TAGS, "SELECT repository_id, manifest_id, name, updated_us FROM tags WHERE repository_id >= $1 ORDER BY repository_id") \
        X(OLD_TAGS_OF_MANIFESTS, "SELECT manifest_id, repository_id, name FROM tags INDEXED BY tags_manifest " \
                                 "WHERE manifest_id >= $1 ORDER BY manifest_id") \
        X(OLD_LINKS, "SELECT blob_id, repository_id, since_us FROM repository_blobs WHERE blob_id >= $1 ORDER BY blob_id") \
        X(OLD_REVIEWS, "SELECT manifest_id, orphaned, since_us FROM gc_manifest_queue WHERE manifest_id >= $1 ORDER BY manifest_id") \
        X(OLD_TRASH, "SELECT since_us, upload_id, digest, size FROM object_trash WHERE since_us >= $1 ORDER BY since_us") \
        X(OLD_UPLOADS, "SELECT updated_us, id, repository_id, received, hash_state, created_us FROM uploads WHERE updated_us >= $1 " \
                       "ORDER BY updated_us") \
        X(TAG_SET_NEWER, "INSERT INTO tags (repository_id, name, manifest_id, updated_us) VALUES ($1, $2, $3, $4) " \
                         "ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id, " \
                         "updated_us = excluded.updated_us WHERE excluded.updated_us > tags.updated_us") \
        X(LOST_MANIFEST_ADD, "INSERT INTO lost_manifests (id, repository_id, digest) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING") \
        X(LOST_MANIFESTS, "SELECT r.name, '', l.digest, 0 FROM lost_manifests l JOIN repositories r ON r.id = l.repository_id " \
                          "ORDER BY r.name, l.digest") \
        X(LOST_TAG_ADD, "INSERT INTO lost_tags (repository_id, name, updated_us, digest) " \
                        "VALUES ($1, $2, $3, (SELECT digest FROM lost_manifests WHERE id = $4)) " \
                        "ON CONFLICT (repository_id, name) DO NOTHING") \
        X(LOST_TAG_FIND, "SELECT 1 FROM lost_tags WHERE repository_id = $1 AND name = $2") \
        X(LOST_TAGS, "SELECT r.name, l.name, l.digest, t.name IS NOT NULL FROM lost_tags l JOIN repositories r ON r.id = l.repository_id " \
                     "LEFT JOIN tags t ON t.repository_id = l.repository_id AND t.name = l.name " \
                     "WHERE t.name IS NULL OR l.updated_us = 0 OR t.updated_us < l.updated_us ORDER BY r.name, l.name") \
        X(REPOSITORIES_LIST, "UPDATE repositories SET has_manifests = 1 WHERE id IN (SELECT repository_id FROM manifests)") \
        X(MANIFESTS_QUEUE_UNTAGGED, "INSERT INTO gc_manifest_queue (manifest_id, orphaned, since_us) " \
                                    "SELECT m.id, 0, CAST($1 AS BIGINT) FROM manifests m WHERE NOT EXISTS " \
                                    "(SELECT 1 FROM tags t WHERE t.manifest_id = m.id) ON CONFLICT (manifest_id) DO NOTHING") \
        X(BLOBS_QUEUE_UNNAMED, "INSERT INTO gc_blob_queue (blob_id, repository_id, since_us) " \
                               "SELECT l.blob_id, l.repository_id, CAST($1 AS BIGINT) FROM repository_blobs l WHERE NOT EXISTS (SELECT 1 " \
                               "FROM manifest_blobs m WHERE m.blob_id = l.blob_id AND m.repository_id = l.repository_id) " \
                               "AND (l.blob_id, l.repository_id) NOT IN (SELECT blob_id, repository_id FROM gc_blob_queue)") \
        X(BLOBS_QUEUE_UNLINKED, "INSERT INTO gc_blob_queue (blob_id, repository_id, since_us) " \
                                "SELECT b.id, 0, CAST($1 AS BIGINT) FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM repository_blobs l " \
                                "WHERE l.blob_id = b.id) AND b.id NOT IN (SELECT blob_id FROM gc_blob_queue)") \
        X(GC_BLOBS, "SELECT " GC_BLOB_COLUMNS ", (SELECT count(*) FROM repository_blobs k WHERE k.blob_id = q.blob_id), " \
                    "count(l.since_us) OVER blob, " \
                    "row_number() OVER (blob ORDER BY l.since_us IS NULL, " GC_BLOB_SINCE_BOTH " DESC, q.id DESC) " \
                    "FROM (SELECT max(id) AS id, blob_id, repository_id, max(since_us) AS since_us " \
                    "FROM gc_blob_queue GROUP BY blob_id, repository_id) q " GC_BLOB_JOINS " WHERE NOT EXISTS (SELECT 1 " \
                    "FROM manifest_blobs m WHERE m.blob_id = q.blob_id AND m.repository_id = q.repository_id) " \
                    "WINDOW blob AS (PARTITION BY q.blob_id) ORDER BY q.id") \
        X(UPLOADS_IDLE, "SELECT u.id, r.name, u.received, u.updated_us FROM uploads u JOIN repositories r ON r.id = u.repository_id " \
                        "WHERE u.updated_us <= $1 LIMIT $2") \
        X(WAITING_BLOBS, "SELECT count(*), min(since_us) FROM gc_blob_queue") \
        X(WAITING_MANIFESTS, "SELECT count(*), min(since_us) FROM gc_manifest_queue WHERE orphaned = $1") \
        X(WAITING_OBJECTS, "SELECT count(*), min(since_us), sum(size) FROM object_trash") \
        X(WAITING_UPLOADS, "SELECT count(*), min(updated_us), sum(received) FROM uploads") \
        X(TOTALS, "SELECT (SELECT count(*) FROM repositories WHERE has_manifests = 1), (SELECT count(*) FROM manifests), " \
                  "(SELECT count(*) FROM tags), (SELECT count(*) FROM blobs), (SELECT COALESCE(sum(size), 0) FROM blobs), " \
                  "(SELECT COALESCE(sum(size), 0) FROM manifests)") \
        X(USAGE, "SELECT r.name, (SELECT count(*) FROM tags t WHERE t.repository_id = r.id), COALESCE(m.count, 0), " \
                 "COALESCE(m.bytes, 0), COALESCE(l.count, 0), COALESCE(l.bytes, 0), COALESCE(l.own, 0) FROM repositories r " \
                 "LEFT JOIN (SELECT repository_id, count(*) AS count, sum(size) AS bytes FROM manifests GROUP BY repository_id) m " \
                 "ON m.repository_id = r.id " \
                 "LEFT JOIN (SELECT k.repository_id, count(*) AS count, sum(b.size) AS bytes, " \
                 "sum(CASE WHEN EXISTS (SELECT 1 FROM repository_blobs o WHERE o.blob_id = k.blob_id " \
                 "AND o.repository_id <> k.repository_id) THEN 0 ELSE b.size END) AS own " \
                 "FROM repository_blobs k JOIN blobs b ON b.id = k.blob_id GROUP BY k.repository_id) l " \
                 "ON l.repository_id = r.id WHERE m.count > 0 OR l.count > 0 ORDER BY r.name") \
        X(DAMAGED, "SELECT b.digest, b.size, b.damaged_us, b.damage, (SELECT r.name FROM repository_blobs l " \
                   "JOIN repositories r ON r.id = l.repository_id WHERE l.blob_id = b.id LIMIT 1) " \
                   "FROM blobs b WHERE b.damaged_us IS NOT NULL ORDER BY b.id")

enum statement {
#define X(name, text) SQL_##name,
        META_STATEMENTS(X)
        META_SURVEYS(X)
#undef X
        SQL_COUNT
};
