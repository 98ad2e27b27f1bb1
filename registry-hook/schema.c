/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/schema.h"

#define APPLICATION_ID 0x7a70686b /* "zphk" */
#define SCHEMA_VERSION 5
#define STRING(x) #x
#define VALUE(x) STRING(x)

/* Times are Unix milliseconds. `target` is where the snapshot goes: "docker://host/repository". */
static const char schema[] =
        /* What was accepted and not yet decided about; the same news twice is one row. */
        "CREATE TABLE events ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, host TEXT NOT NULL, repository TEXT NOT NULL,"
        " tag TEXT NOT NULL, digest TEXT NOT NULL, requested_by TEXT NOT NULL, is_forced INTEGER NOT NULL,"
        " received INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, "
        "not_before INTEGER NOT NULL DEFAULT 0,"
        " reason TEXT NOT NULL DEFAULT '', UNIQUE (host, repository, tag, digest, kind, is_forced)) STRICT;"
        "CREATE INDEX events_due ON events (not_before, id);"
        /* Deliveries seen, so that a replayed one is told from a new one. */
        "CREATE TABLE deliveries (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;"
        /* What each event came to, for whoever waits for it (trigger) and for people. */
        "CREATE TABLE decisions ("
        " event INTEGER PRIMARY KEY, name TEXT NOT NULL, decided INTEGER NOT NULL, text TEXT NOT NULL,"
        " marked INTEGER NOT NULL) STRICT;"
        "CREATE TABLE builds ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL,"
        " platform TEXT NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,"
        " rule TEXT NOT NULL, is_forced INTEGER NOT NULL, had_tags INTEGER NOT NULL DEFAULT 0, requested_by TEXT NOT "
        "NULL, created INTEGER NOT NULL,"
        " not_before INTEGER NOT NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0,"
        " finished INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',"
        " image_size INTEGER NOT NULL DEFAULT 0, result TEXT NOT NULL DEFAULT '', log TEXT NOT NULL DEFAULT '') STRICT;"
        "CREATE UNIQUE INDEX builds_active ON builds (digest, target) WHERE state IN ('queued', 'running');"
        "CREATE INDEX builds_next ON builds (state, priority DESC, id);"
        "CREATE INDEX builds_of ON builds (host, repository, id);"
        "CREATE TABLE build_events (build INTEGER NOT NULL REFERENCES builds ON DELETE CASCADE, event INTEGER NOT NULL,"
        " PRIMARY KEY (build, event)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX build_events_of ON build_events (event);"
        /* As it was until version 4. */
        "CREATE TABLE build_tags (build INTEGER NOT NULL REFERENCES builds ON DELETE CASCADE, tag TEXT NOT NULL,"
        " PRIMARY KEY (build, tag)) STRICT, WITHOUT ROWID;"
        /* What is published, by this service; since when no tag names its image, or the image is gone; when it was
           removed (with a minus: is being removed). */
        "CREATE TABLE snapshots ("
        " digest TEXT NOT NULL, target TEXT NOT NULL, host TEXT NOT NULL, repository TEXT NOT NULL,"
        " platform TEXT NOT NULL, rule TEXT NOT NULL, artifact TEXT NOT NULL, build INTEGER NOT NULL,"
        " published INTEGER NOT NULL, image_size INTEGER NOT NULL, snapshot_size INTEGER NOT NULL,"
        " sent_size INTEGER NOT NULL, seconds REAL NOT NULL, untagged INTEGER NOT NULL DEFAULT 0,"
        " deleted INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (digest, target)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX snapshots_of ON snapshots (host, repository, published);"
        /* What each tag was last seen to name (index or manifest), and each platform's image below it. */
        "CREATE TABLE tags ("
        " host TEXT NOT NULL, repository TEXT NOT NULL, tag TEXT NOT NULL, platform TEXT NOT NULL,"
        " digest TEXT NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (host, repository, tag, platform))"
        " STRICT, WITHOUT ROWID;"
        /* The latest start-up profiles that nodes reported of a repository ("host/repository"). */
        "CREATE TABLE profiles ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL, digest TEXT NOT NULL, profile TEXT NOT NULL,"
        " received INTEGER NOT NULL, UNIQUE (repository, digest)) STRICT;"
        "PRAGMA application_id = " VALUE(APPLICATION_ID) ";";

/* Since version 2: credentials that came with a wish, until it is decided about, and until its builds are over. */
static const char auths[] =
        "CREATE TABLE event_auths (event INTEGER PRIMARY KEY, auths TEXT NOT NULL) STRICT;"
        "CREATE TABLE build_auths (build INTEGER PRIMARY KEY REFERENCES builds ON DELETE CASCADE, auths TEXT NOT NULL)"
        " STRICT;"
        "CREATE TRIGGER builds_over AFTER UPDATE OF state ON builds WHEN new.state NOT IN ('queued', 'running') BEGIN"
        " DELETE FROM build_auths WHERE build = new.id; END;";

/* Since version 3: profiles of starts of which not all was seen; why nothing could be decided. */
static const char columns[] = "ALTER TABLE profiles ADD COLUMN is_partial INTEGER NOT NULL DEFAULT 0;"
                              "ALTER TABLE decisions ADD COLUMN problem TEXT NOT NULL DEFAULT '';";

/* Since version 4: several repositories may have the same image, and its snapshot go to the same target. Where it was
   wanted, as long as there is a build or a snapshot; and for whose sake a build is made: the tag, '': somebody wished
   for its digest, '@': it was pushed by digest, and no tag of the repository was told of yet. What repositories shared
   before is guessed by their tags, so that too much is built and kept rather than too little. */
static const char repositories[] =
        "CREATE TABLE origins (digest TEXT NOT NULL, target TEXT NOT NULL, host TEXT NOT NULL, repository TEXT NOT "
        "NULL,"
        " PRIMARY KEY (digest, target, host, repository)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX origins_of ON origins (host, repository);"
        "INSERT INTO origins SELECT digest, target, host, repository FROM builds"
        " UNION SELECT digest, target, host, repository FROM snapshots WHERE gone <= 0;"
        "INSERT OR IGNORE INTO origins SELECT o.digest, o.target, t.host, t.repository FROM origins o, tags t"
        " WHERE t.digest = o.digest AND t.platform <> '';"
        "ALTER TABLE build_tags RENAME TO build_tags_3;"
        "CREATE TABLE build_tags (build INTEGER NOT NULL REFERENCES builds ON DELETE CASCADE, host TEXT NOT NULL,"
        " repository TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (build, host, repository, tag))"
        " STRICT, WITHOUT ROWID;"
        "CREATE INDEX build_tags_of ON build_tags (host, repository, tag);"
        "INSERT INTO build_tags SELECT b.id, b.host, b.repository, t.tag FROM build_tags_3 t JOIN builds b"
        " ON b.id = t.build;"
        "DROP TABLE build_tags_3;"
        "INSERT OR IGNORE INTO build_tags SELECT b.id, t.host, t.repository, t.tag FROM builds b JOIN tags t"
        " ON t.digest = b.digest AND t.platform <> '' WHERE b.state IN ('queued', 'running');"
        "INSERT INTO build_tags SELECT id, host, repository, CASE WHEN had_tags THEN '' ELSE '@' END FROM builds"
        " WHERE state IN ('queued', 'running') AND NOT EXISTS (SELECT 1 FROM build_tags WHERE build = id);"
        "ALTER TABLE builds DROP COLUMN had_tags;";

/* Since version 5: which of a registry's events is the next. */
static const char turns[] = "CREATE INDEX events_of ON events (host, not_before, id);";

static const char version_mark[] = "PRAGMA user_version = " VALUE(SCHEMA_VERSION) ";";

int hook_schema_prepare(sqlite3 *db, struct zp_error *err) {
        int64_t version, application, objects;
        int r = hook_sql_number(db, &version, err, "PRAGMA user_version", "");
        if (r == 0)
                r = hook_sql_number(db, &application, err, "PRAGMA application_id", "");
        if (r == 0)
                r = hook_sql_number(db, &objects, err, "SELECT count(*) FROM sqlite_schema", "");
        if (r < 0)
                return r;
        if (objects > 0 && application != APPLICATION_ID)
                return zp_error_set(err, EBADMSG, "hook.db is not zeropull-hook's");
        if (version > SCHEMA_VERSION)
                return zp_error_set(err, EBADMSG, "hook.db was written by a newer zeropull-hook");
        if (version == SCHEMA_VERSION)
                return 0;
        r = hook_sql_exec(db, "BEGIN IMMEDIATE", err);
        if (r == 0 && objects == 0)
                r = hook_sql_exec(db, schema, err);
        if (r == 0 && version < 2)
                r = hook_sql_exec(db, auths, err);
        if (r == 0 && version < 3)
                r = hook_sql_exec(db, columns, err);
        if (r == 0 && version < 4)
                r = hook_sql_exec(db, repositories, err);
        if (r == 0)
                r = hook_sql_exec(db, turns, err);
        if (r == 0)
                r = hook_sql_exec(db, version_mark, err);
        if (r == 0)
                r = hook_sql_exec(db, "COMMIT", err);
        if (!sqlite3_get_autocommit(db))
                sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return r;
}
