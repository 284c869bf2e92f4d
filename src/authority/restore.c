/*
 * A new authority from a backup. On disk, in a directory that had none:
 *
 *     restore.new       the database of the backup, then changed         fault authority.restore.unpacked
 *     keyring.N+1       written when the changes are committed                   authority.keyring.written
 *     ...               erases since the backup are carried out (erasing.h)
 *     authority.db      restore.new, renamed                              before: authority.restore.place
 *
 * Until the rename there is no authority, and the same command begins anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "authority/backup.h"
#include "authority/backup_file.h"
#include "authority/directory.h"
#include "authority/erasing.h"
#include "authority/record.h"
#include "authority/restoring.h"
#include "authority/rotation.h"
#include "authority/schema.h"
#include "authority/state.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"

#define RESTORE_NAME "restore.new"
enum { KEYRING_MOST = 1 << 20, UNPACK_PIECE = 65536 };

struct restore {
    const struct authority_options *options;
    const struct authority_backup *backup;
    struct clerk clerk;
    struct backup_facts facts;
    struct bulk *bulk;
    int directory_fd, lock_fd;
    char *path; /* of RESTORE_NAME; owned */
};

static enum error_code read_envelope(struct restore *restore, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *bulk_key = NULL;
    uint8_t envelope[BACKUP_ENVELOPE_SIZE + 1];
    size_t length = 0;
    for (ssize_t got = 1; got > 0 && length<sizeof(envelope); length += got> 0 ? (size_t)got : 0) {
        got = read(restore->backup->envelope_fd, envelope + length, sizeof(envelope) - length);
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot read the envelope");
    }
    enum error_code code = backup_envelope_open(envelope, length, restore->backup->backup_key,
                                                &restore->facts, &bulk_key, reterr);
    return code ? code
                : bulk_read_begin(restore->backup->bulk_fd, restore->facts.id, bulk_key, &restore->bulk,
                                  reterr);
}

static enum error_code read_exactly(struct bulk *bulk, void *bytes, size_t length, struct error *reterr)
{
    size_t got = 0;
    enum error_code code = bulk_read(bulk, bytes, length, &got, reterr);
    return !code && got != length ? error_set(reterr, ERR_CORRUPT, 0, "the bulk is too short") : code;
}

static enum error_code unpack_keyring(struct restore *restore, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *payload = NULL;
    uint64_t generation = 0;
    uint32_t length = 0;
    enum error_code code = read_exactly(restore->bulk, &generation, sizeof(generation), reterr);
    if (!code)
        code = read_exactly(restore->bulk, &length, sizeof(length), reterr);
    length = le32toh(length);
    if (!code && (length == 0 || length > KEYRING_MOST))
        code = error_set(reterr, ERR_CORRUPT, 0, "the bulk holds a keyring of %u bytes", length);
    if (!code)
        code = secret_new(length, &payload, reterr);
    if (!code)
        code = read_exactly(restore->bulk, payload->bytes, length, reterr);
    return code ? code : keyring_parse(payload, le64toh(generation), &restore->clerk.keyring, reterr);
}

/* To its end: only then it is known to be whole. */
static enum error_code unpack_database(struct restore *restore, struct error *reterr)
{
    _cleanup_(freep) uint8_t *piece = malloc(UNPACK_PIECE);
    _cleanup_(close_fdp) int fd = openat(restore->directory_fd, RESTORE_NAME,
                                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t got = UNPACK_PIECE;
    if (fd < 0 || !piece)
        return error_set(reterr, ERR_FAILED, fd < 0 ? errno : ENOMEM, "cannot make %s", RESTORE_NAME);
    enum error_code code = OK;
    while (!code && got == UNPACK_PIECE) {
        code = bulk_read(restore->bulk, piece, UNPACK_PIECE, &got, reterr);
        if (!code)
            code = file_write_all(fd, piece, got, reterr);
    }
    return code ? code : file_sync(fd, RESTORE_NAME, reterr);
}

/* What an earlier try left is not taken for a part of this one. */
static enum error_code clear(struct restore *restore, struct error *reterr)
{
    static const char *const left[] = {RESTORE_NAME, RESTORE_NAME "-wal", RESTORE_NAME "-shm",
                                       RESTORE_NAME "-journal"};
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(left); i++)
        code = file_remove_durable(restore->directory_fd, left[i], 0, reterr);
    return code;
}

static enum error_code check_authority(const struct restore *restore, struct error *reterr)
{
    uint8_t fingerprint[DESCRIPTOR_FINGERPRINT_SIZE];
    descriptor_fingerprint(restore->clerk.face->descriptor.root, fingerprint);
    return memcmp(fingerprint, restore->facts.root_fingerprint, sizeof(fingerprint)) == 0
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0, "the envelope is of another authority than the bulk");
}

static enum error_code unpack(struct restore *restore, struct error *reterr)
{
    struct clerk *clerk = &restore->clerk;
    enum error_code code = clear(restore, reterr);
    if (!code)
        code = read_envelope(restore, reterr);
    if (!code)
        code = unpack_keyring(restore, reterr);
    if (!code)
        code = unpack_database(restore, reterr);
    (void)fault("authority.restore.unpacked");
    if (!code)
        code = sql_open(restore->path, SQL_OPEN, &clerk->sql, reterr);
    if (!code)
        code = schema_check(clerk->sql, reterr);
    if (!code)
        code = sql_check_whole(clerk->sql, reterr);
    if (!code)
        code = state_read(clerk, reterr);
    return code ? code : check_authority(restore, reterr);
}

/* Nothing that was to happen once in the life before happens again; and as long as nobody says what happened
 * since, every host waits for people. How far its lineage has gone on since no record says: what it was in
 * the backup is that of old copies by now, and what is not known here is stale until the boot that was open
 * then tells it, or people do. */
static enum error_code hold_everything(struct clerk *clerk, const struct restoring *restoring,
                                       struct error *reterr)
{
    static const char script[] =
        "DELETE FROM tickets; DELETE FROM tokens WHERE host IS NULL;"
        "UPDATE requests SET state = 4 WHERE state <= 2;"
        "INSERT OR IGNORE INTO restored_hosts(host) SELECT id FROM hosts WHERE erased = 0 AND confirmed <> 0;"
        "UPDATE hosts SET lineage_current = randomblob(16), lineage_offered = randomblob(16) WHERE "
        "confirmed <> 0;";
    _Static_assert(POLICY_TOKEN_SIZE == 16, "the script above");
    _Static_assert(POLICY_EXPIRED == 4 && POLICY_PENDING == 0 && POLICY_APPROVED == 1 && POLICY_GRANTED == 2,
                   "the script above");
    enum error_code code = sql_script(clerk->sql, script, reterr);
    return code || restoring->is_complete
               ? code
               : sql_run(clerk->sql, reterr, "UPDATE hosts SET held = ? WHERE erased = 0 AND held = 0", "i",
                         (int64_t)HOST_HELD_AFTER_RESTORE);
}

/* The disk of before may have images; with a holder elsewhere that of now has none. Keyslots may be of a time
 * when the clock was ahead. */
static enum error_code note_images(struct clerk *clerk, struct error *reterr)
{
    return keyring_has_holder_elsewhere(&clerk->place)
               ? sql_run(clerk->sql, reterr,
                         "UPDATE moving SET imaged_until = min(imaged_until, max(?, (SELECT "
                         "coalesce(max(created_at), 0) FROM keyslots)))",
                         "i", clerk->now_unix_s)
               : sql_run(clerk->sql, reterr, "UPDATE moving SET imaged_until = ?", "i", INT64_MAX);
}

static enum error_code put_ledger_away(struct restoring *restoring, struct error *reterr)
{
    struct clerk *clerk = restoring->clerk;
    enum error_code code = record_verify(clerk->sql, clerk->epoch, NULL, 0, &restoring->head, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "INSERT INTO ledger_earlier(epoch, sequence, hash, entry) SELECT ?, sequence, hash, "
                       "entry FROM ledger",
                       "i", (int64_t)clerk->epoch);
    if (!code)
        code = sql_run(clerk->sql, reterr, "DELETE FROM ledger", "");
    clerk->ledger.has_head = false;
    restoring->epoch = clerk->epoch;
    restoring->backup_entries = restoring->head.sequence;
    memcpy(restoring->signing_key, clerk->face->descriptor.signing_key, SIGN_PUBLIC_SIZE);
    return code;
}

/* Another one each time, also when the same backup is restored twice: its number is the time. */
static enum error_code begin_epoch(struct clerk *clerk, struct error *reterr)
{
    clerk->epoch++;
    if (clerk->now_unix_s > 0 && (uint64_t)clerk->now_unix_s > clerk->epoch)
        clerk->epoch = (uint64_t)clerk->now_unix_s;
    return sql_run(clerk->sql, reterr, "UPDATE state SET epoch = ?", "i", (int64_t)clerk->epoch);
}

static enum error_code record_restored(struct restore *restore, const struct restoring *restoring,
                                       struct error *reterr)
{
    json_t *details =
        json_pack("{s:I, s:I, s:b, s:I}", "earlier_epoch", (json_int_t)restoring->epoch, "earlier_entries",
                  (json_int_t)restoring->head.sequence, "held", !restoring->is_complete, "made_at",
                  (json_int_t)restore->facts.made_at_unix_s);
    enum error_code code =
        json_set_hex(details, "earlier_hash", restoring->head.hash, LEDGER_HASH_SIZE, reterr);
    if (!code)
        code = json_set_hex(details, "backup", restore->facts.id, BACKUP_ID_SIZE, reterr);
    if (!code)
        code = record_append(&restore->clerk, "restored", TAKE(details), reterr);
    json_decref(details);
    return code;
}

static enum error_code with_each_record(const struct authority_backup *backup, struct restoring *restoring,
                                        enum error_code (*act)(struct restoring *restoring, int fd,
                                                               struct error *reterr),
                                        struct error *reterr)
{
    for (size_t i = 0; i < backup->record_count; i++) {
        enum error_code code = act(restoring, backup->record_fds[i], reterr);
        if (code)
            return error_prefix(reterr, "%s", text_shown(backup->record_names[i]));
    }
    return OK;
}

/* The new epoch's first entry says where the one before ended; what was learnt is done after it. */
static enum error_code begin_anew(struct restore *restore, struct restoring *restoring, struct error *reterr)
{
    struct clerk *clerk = &restore->clerk;
    enum error_code code = put_ledger_away(restoring, reterr);
    if (!code)
        code = with_each_record(restore->backup, restoring, restoring_keep_export, reterr);
    if (!code)
        code = begin_epoch(clerk, reterr);
    if (!code)
        code = record_restored(restore, restoring, reterr);
    if (!code)
        code = hold_everything(clerk, restoring, reterr);
    if (!code)
        code = note_images(clerk, reterr);
    if (!code)
        code = backup_note(clerk, &restore->facts, "huskd restore", reterr);
    if (!code)
        code = restoring_apply_entries(restoring, reterr);
    return code ? code : with_each_record(restore->backup, restoring, restoring_apply_statements, reterr);
}

static enum error_code change(struct restore *restore, const json_t *addresses, struct buffer *text,
                              struct restoring *restoring, struct error *reterr)
{
    struct clerk *clerk = &restore->clerk;
    bool changed = false;
    clerk->has_old_keyring = true; /* as far as is known: of an earlier try */
    enum error_code code = clerk_begin(clerk, reterr);
    if (!code)
        code = begin_anew(restore, restoring, reterr);
    if (!code)
        code = rotation_prepare(clerk, ROTATION_NEW_KEYS, addresses, text, &changed, reterr);
    if (code)
        sql_roll_back(clerk->sql);
    return code ? code : clerk_commit(clerk, reterr);
}

static enum error_code place(struct restore *restore, struct error *reterr)
{
    struct clerk *clerk = &restore->clerk;
    sql_close(TAKE(clerk->sql)); /* which leaves one file */
    if (faccessat(restore->directory_fd, RESTORE_NAME "-wal", F_OK, 0) == 0)
        return error_set(reterr, ERR_FAILED, 0, "the restored database could not be closed");
    (void)fault("authority.restore.place");
    if (renameat(restore->directory_fd, RESTORE_NAME, restore->directory_fd, DIRECTORY_DATABASE) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot rename %s", RESTORE_NAME);
    return file_sync(restore->directory_fd, DIRECTORY_DATABASE, reterr);
}

static enum error_code summarize(struct restore *restore, const struct restoring *restoring,
                                 json_t **ret_summary, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        sql_select(restore->clerk.sql, &rows, reterr,
                   "SELECT (SELECT count(*) FROM hosts WHERE erased = 0), (SELECT count(*) FROM hosts WHERE "
                   "held <> 0 AND erased = 0)",
                   "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code) {
        *ret_summary = json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "hosts", (json_int_t)sql_integer(&rows, 0), "held",
            (json_int_t)sql_integer(&rows, 1), "erased_since", (json_int_t)restoring->erased, "not_in_backup",
            (json_int_t)restoring->enrolled, "keyslots_not_in_backup", (json_int_t)restoring->bound,
            "made_at", (json_int_t)restore->facts.made_at_unix_s, "epoch", (json_int_t)restore->clerk.epoch,
            "complete", restoring->is_complete);
        code = *ret_summary ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    sql_done(&rows);
    return code;
}

static enum error_code open_directory(struct restore *restore, struct error *reterr)
{
    const char *directory = restore->options->directory;
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return error_set(reterr, ERR_FAILED, errno, "cannot make %s", text_shown(directory));
    enum error_code code = directory_lock(directory, &restore->directory_fd, &restore->lock_fd, reterr);
    if (!code && faccessat(restore->directory_fd, DIRECTORY_DATABASE, F_OK, 0) == 0)
        code = error_set(reterr, ERR_EXISTS, 0, "there is an authority in %s already", text_shown(directory));
    if (!code)
        code = directory_path(directory, RESTORE_NAME, &restore->path, reterr);
    restore->clerk.place =
        (struct keyring_place){.directory_fd = restore->directory_fd, .holder = restore->options->holder};
    return code ? code : keyring_check_holder_is_free(&restore->clerk.place, reterr);
}

static void restore_done(struct restore *restore)
{
    struct clerk *clerk = &restore->clerk;
    sql_close(clerk->sql);
    bulk_free(restore->bulk);
    keyring_free(clerk->keyring);
    keyring_free(clerk->next_keyring);
    face_free(clerk->next_face);
    face_place_done(&clerk->face_place);
    group_forget(clerk);
    presence_done(&clerk->presence);
    free(clerk->checkpoint);
    free(restore->path);
    close_fdp(&restore->lock_fd);
    close_fdp(&restore->directory_fd);
}

static enum error_code restore_all(struct restore *restore, const json_t *addresses, struct buffer *text,
                                   json_t **ret_summary, struct error *reterr)
{
    struct restoring restoring = {.clerk = &restore->clerk};
    _cleanup_(json_freep) json_t *summary = NULL;
    enum error_code code = open_directory(restore, reterr);
    if (!code)
        code = unpack(restore, reterr);
    if (!code)
        code = change(restore, addresses, text, &restoring, reterr);
    if (!code)
        code = clerk_destroy_old(&restore->clerk, reterr);
    if (!code)
        code = erasing_carry_out(&restore->clerk, reterr);
    if (!code)
        code = summarize(restore, &restoring, &summary, reterr);
    if (!code)
        code = place(restore, reterr);
    if (!code)
        *ret_summary = TAKE(summary);
    return code;
}

enum error_code authority_restore(const struct authority_options *options,
                                  const struct authority_backup *backup, const char *const *addresses,
                                  unsigned count, struct buffer *text, json_t **ret_summary,
                                  struct error *reterr)
{
    struct restore restore = {.options = options,
                              .backup = backup,
                              .directory_fd = -1,
                              .lock_fd = -1,
                              .clerk = {.clock = options->clock}};
    _cleanup_(json_freep) json_t *array = json_array();
    for (unsigned i = 0; i < count; i++)
        if (json_array_append_new(array, json_string(addresses[i])) != 0)
            return error_set(reterr, ERR_USAGE, 0, "an address that is no text");
    restore.clerk.wake_round = 1;
    face_place_init(&restore.clerk.face_place);
    enum error_code code = presence_init(&restore.clerk.presence, reterr);
    if (!code)
        code = restore_all(&restore, array, text, ret_summary, reterr);
    restore_done(&restore);
    return code;
}
