#include "authority/operations.h"
#include "authority/record.h"
#include "authority/rotation.h"

/* Whatever was made when the clock was ahead would be good for too long. */
static enum error_code void_the_future(struct clerk *clerk, int64_t highest, struct error *reterr)
{
    const int64_t now = clerk->now_unix_s;
    enum error_code code = sql_run(clerk->sql, reterr, "DELETE FROM tickets", "");
    if (!code)
        code = sql_run(clerk->sql, reterr, "DELETE FROM tokens WHERE host IS NULL", "");
    if (!code)
        code =
            sql_run(clerk->sql, reterr, "UPDATE requests SET state = ? WHERE state <= 1 AND created_at > ?",
                    "ii", (int64_t)POLICY_EXPIRED, now);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE hosts SET last_seen = 0 WHERE last_seen > ?", "i", now);
    if (!code && highest > now)
        code = rotation_follow_clock(clerk, highest - now, reterr);
    if (!code)
        presence_forget_after(&clerk->presence, now);
    return code;
}

enum error_code operation_clock_accept(struct clerk *clerk, struct job *job, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    int64_t highest = 0;
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT clock_highest FROM state", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code)
        highest = sql_integer(&rows, 0);
    sql_done(&rows);
    if (code || !clerk->clock_went_back)
        return code;
    json_t *details = json_pack("{s:I}", "was", (json_int_t)highest);
    code = operation_set_actor(job, details, reterr);
    if (!code)
        code = record_append(clerk, "clock-accepted", TAKE(details), reterr);
    json_decref(details);
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE state SET clock_highest = ?", "i", clerk->now_unix_s);
    if (!code)
        code = void_the_future(clerk, highest, reterr);
    job->changed = !code;
    return code;
}
