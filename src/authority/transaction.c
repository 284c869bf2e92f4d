/* A transaction of the clerk's: its clock, its keys, its commit. */
#include <sodium.h>

#include "authority/clerk.h"
#include "authority/record.h"
#include "authority/schema.h"
#include "base/fault.h"
#include "base/text.h"

enum { CLOCK_BACK_S = 60 };
#define KEYRING_AGAIN_NS (10 * CLOCK_NS_PER_S)

/* What is to be destroyed is destroyed before: the new file may have the name of one that a commit that
 * failed left, and would take it away. */
static enum error_code prepare_keyring(struct clerk *clerk, struct error *reterr)
{
    enum error_code code = clerk->has_old_keyring ? clerk_destroy_old(clerk, reterr) : OK;
    return code ? code : keyring_check_holder(&clerk->place, clerk->keyring->generation, reterr);
}

/* Who needs another keyring while none can be written fails alone, and not the whole batch with it. */
enum error_code clerk_change_keyring(struct clerk *clerk, struct keyring **ret_keyring, struct error *reterr)
{
    enum error_code code = clerk->next_keyring ? OK : prepare_keyring(clerk, reterr);
    if (!code && !clerk->next_keyring)
        code = keyring_copy(clerk->keyring, &clerk->next_keyring, reterr);
    clerk->has_new_keys |= !code;
    if (!code)
        *ret_keyring = clerk->next_keyring;
    return code;
}

void clerk_change_keys(struct clerk *clerk, struct keyring *keyring, struct face *face)
{
    clerk->has_new_keys = true;
    keyring->generation = clerk->keyring->generation + 1;
    keyring_free(clerk->next_keyring);
    clerk->next_keyring = keyring;
    clerk_change_face(clerk, face);
}

void clerk_change_face(struct clerk *clerk, struct face *face)
{
    clerk->has_new_keys = true;
    face_free(clerk->next_face);
    clerk->next_face = face;
}

/* How far the clock is behind where the time since boot should have brought it from where it was seen. */
static int64_t clock_behind_s(const struct clerk *clerk)
{
    const int64_t passed_s = (clerk->now_boot_ns - clerk->seen_boot_ns) / CLOCK_NS_PER_S;
    return clerk->seen_boot_ns ? clerk->seen_unix_s + passed_s - clerk->now_unix_s : 0;
}

/* Where it went back, the time it should be is what it is measured by, also after a restart. A batch that is
 * not committed sees it again. */
static enum error_code compare_with_boottime(struct clerk *clerk, struct error *reterr)
{
    const int64_t behind_s = clock_behind_s(clerk);
    if (behind_s <= CLOCK_BACK_S)
        return OK;
    return sql_run(clerk->sql, reterr, "UPDATE state SET clock_highest = max(clock_highest, ?)", "i",
                   clerk->now_unix_s + behind_s);
}

/* A clock that is a little behind is measured by where it was: small steps back add up. */
static void remember_the_clock(struct clerk *clerk)
{
    const int64_t behind_s = clock_behind_s(clerk);
    if (behind_s > 0 && behind_s <= CLOCK_BACK_S)
        return;
    clerk->seen_unix_s = clerk->now_unix_s;
    clerk->seen_boot_ns = clerk->now_boot_ns;
}

/* A clock that went back by more than a minute behind the last entry, or from one batch to the next, makes
 * nothing automatic. */
static enum error_code look_at_the_clock(struct clerk *clerk, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = compare_with_boottime(clerk, reterr);
    if (!code)
        code = sql_select(clerk->sql, &rows, reterr, "SELECT clock_highest FROM state", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    const bool went_back = !code && is_there && clerk->now_unix_s < sql_integer(&rows, 0) - CLOCK_BACK_S;
    const int64_t behind_s = went_back ? sql_integer(&rows, 0) - clerk->now_unix_s : 0;
    sql_done(&rows);
    if (code || clerk->clock_went_back == went_back)
        return code;
    clerk->clock_went_back = went_back;
    char line[192];
    snprintf(line, sizeof(line),
             "the clock went back by %lld seconds: nothing opens without people until it is right again, or "
             "huskd clock accept says that it is",
             (long long)behind_s);
    clerk_tell(clerk, went_back ? line : "the clock is right again");
    return OK;
}

/* What was to be from a commit on that does not come. */
static void drop_next(struct clerk *clerk)
{
    keyring_free(TAKE(clerk->next_keyring));
    face_free(TAKE(clerk->next_face));
}

/* A commit that failed may stand in the log all the same, and come into force with the next crash; what a
 * start found there may never have reached the disk, and go with the next power cut. Either way the database
 * would say another generation than now, whose keyring must not be gone by then. One more commit, of the same
 * value, ends that: it is behind the one and in the place of the other. */
static void settle(struct clerk *clerk)
{
    static const char script[] = "BEGIN IMMEDIATE; PRAGMA application_id = " SCHEMA_APPLICATION "; COMMIT";
    if (!clerk->is_unsettled)
        return;
    if (sql_script(clerk->sql, script, NULL) == OK)
        clerk->is_unsettled = false;
    else
        sql_roll_back(clerk->sql); /* no keyring is destroyed yet: the next begin tries again */
    (void)sql_take_trouble(clerk->sql);
}

enum error_code clerk_begin(struct clerk *clerk, struct error *reterr)
{
    clerk->now_unix_s = clock_unix_s(clerk->clock);
    clerk->now_ns = clock_monotonic_ns();
    clerk->now_boot_ns = clock_boottime_ns();
    drop_next(clerk);
    settle(clerk);
    clerk->is_lost = false;
    memset(&clerk->ledger, 0, sizeof(clerk->ledger));
    enum error_code code = sql_begin(clerk->sql, reterr);
    if (code)
        return code;
    code = look_at_the_clock(clerk, reterr);
    if (code)
        sql_roll_back(clerk->sql);
    return code;
}

/* The file first: a database never says a generation that is not on disk. */
static enum error_code write_keyring(struct clerk *clerk, struct error *reterr)
{
    if (!clerk->next_keyring)
        return OK;
    enum error_code code = prepare_keyring(clerk, reterr);
    if (!code)
        code = keyring_write(clerk->next_keyring, &clerk->place, reterr);
    clerk->keyring_again_ns = code ? clerk->now_ns + KEYRING_AGAIN_NS : 0;
    if (!code)
        code = sql_run(clerk->sql, reterr, "UPDATE state SET generation = ?", "i",
                       (int64_t)clerk->next_keyring->generation);
    (void)fault("authority.keyring.written");
    return code;
}

static void refresh_checkpoint(struct clerk *clerk)
{
    _cleanup_(buffer_done) struct buffer wire = {0};
    if (clerk->checkpoint && !clerk->is_head_new)
        return;
    char *text = NULL;
    if (record_sign_checkpoint(clerk, &wire, NULL) == OK)
        text = malloc(2 * wire.length + 1);
    if (!text)
        return; /* the one before is still true; it is tried again at the next batch */
    text_format_hex(text, (const uint8_t *)wire.data, wire.length);
    free(clerk->checkpoint);
    clerk->checkpoint = text;
    clerk->is_head_new = false;
}

enum error_code clerk_give_up(struct clerk *clerk, enum error_code code)
{
    sql_roll_back(clerk->sql);
    clerk->has_old_keyring |= clerk->next_keyring != NULL;
    clerk->is_unsettled |= clerk->next_keyring != NULL;
    drop_next(clerk);
    clerk->commits_failed++;
    return code;
}

enum error_code clerk_commit(struct clerk *clerk, struct error *reterr)
{
    enum error_code code = write_keyring(clerk, reterr);
    if (!code)
        code = sql_commit(clerk->sql, reterr);
    if (code)
        return clerk_give_up(clerk, code);
    remember_the_clock(clerk);
    if (clerk->next_keyring) {
        keyring_free(clerk->keyring);
        clerk->keyring = TAKE(clerk->next_keyring);
        clerk->has_old_keyring = true;
    }
    if (clerk->next_face) {
        clerk->face = clerk->next_face;
        face_place_put(&clerk->face_place, TAKE(clerk->next_face));
    }
    refresh_checkpoint(clerk);
    return OK;
}

enum error_code clerk_destroy_old(struct clerk *clerk, struct error *reterr)
{
    struct error why = ERROR_NONE;
    char line[sizeof(why.message) + 128];
    enum error_code code =
        clerk->is_unsettled
            ? error_set(&why, ERR_FAILED, 0, "the log of the database cannot be written to the disk")
            : keyring_destroy_others(&clerk->place, clerk->keyring->generation, &why);
    if (!code) {
        if (clerk->has_told_old)
            clerk_tell(clerk, "the earlier keyring is destroyed");
        clerk->has_old_keyring = clerk->has_told_old = false;
        return OK;
    }
    if (!clerk->has_told_old) {
        snprintf(line, sizeof(line),
                 "an earlier keyring is not destroyed, and no erase is done before it is: %s", why.message);
        clerk_tell(clerk, line);
    }
    clerk->has_told_old = true;
    if (reterr)
        *reterr = why;
    return code;
}
