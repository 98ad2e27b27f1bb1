/* SPDX-License-Identifier: Apache-2.0
 *
 * /v1/decisions: what became of an event.
 */
#include "registry-hook/server.h"
#include "registry-hook/transcript.h"

static int decision_json(sqlite3 *db, int64_t event, json_t *out, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL, *waiting = NULL;
        int r = hook_sql_prepare(
                db, &row, err,
                "SELECT d.text, d.name, b.id, b.state, d.marked, d.problem FROM decisions d LEFT JOIN build_events e"
                " ON e.event = d.event LEFT JOIN builds b ON b.id = e.build WHERE d.event = ?1",
                "i", event);
        json_t *builds = json_array();
        json_object_set_new(out, "builds", builds);
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                json_object_set_new(out, "decided", json_true());
                json_object_set_new(out, "text", hook_json_text(hook_sql_text(row, 0)));
                json_object_set_new(out, "marked", json_integer(sqlite3_column_int64(row, 4)));
                json_object_set_new(out, "name", hook_json_text(hook_sql_text(row, 1)));
                if (hook_sql_text(row, 5)[0])
                        json_object_set_new(out, "problem", json_string(hook_sql_text(row, 5)));
                if (sqlite3_column_int64(row, 2))
                        json_array_append_new(builds,
                                              json_pack("{s:I, s:s}", "id", (json_int_t) sqlite3_column_int64(row, 2),
                                                        "state", hook_sql_text(row, 3)));
                r = 0;
        }
        if (r < 0 || json_object_get(out, "decided"))
                return r;
        r = hook_sql_prepare(db, &waiting, err, "SELECT attempts, reason FROM events WHERE id = ?1", "i", event);
        if (r == 0)
                r = hook_sql_step(waiting, err);
        if (r == 0)
                return zp_error_set(err, ENOENT, "no event %lld", (long long) event);
        if (r == 1) {
                json_object_set_new(out, "decided", json_false());
                json_object_set_new(out, "text", hook_json_text(hook_sql_text(waiting, 1)));
        }
        return r < 0 ? r : 0;
}

enum MHD_Result hook_api_get_decision(struct hook_exchange *x) {
        int64_t id;
        struct zp_error err = { 0 };
        if (!hook_argument_number(x, &id))
                return hook_reply_error(x, 404, "no event '%s'", x->argument);
        json_t *out = json_object();
        int r = decision_json(hook_db_begin_read(x->service->db), id, out, &err);
        hook_db_end_read(x->service->db);
        if (r < 0) {
                json_decref(out);
                return hook_reply_failed(x, &err);
        }
        return hook_reply_json(x, 200, out);
}
