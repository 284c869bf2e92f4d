#include "authority/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>

#include "authority/backup_file.h"
#include "authority/directory.h"
#include "authority/operations.h"
#include "authority/record.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"

enum { COPY_PIECE = 65536 };

struct backup {
    struct sql *snapshot;   /* in a transaction */
    struct secret *keyring; /* of the generation that database says */
    uint64_t generation;
    struct backup_facts facts;
    char *copy_path; /* owned */
    int directory_fd;
};

static void backup_free(void *context)
{
    struct backup *backup = context;
    sql_close(backup->snapshot);
    secret_free(backup->keyring);
    free(backup->copy_path);
    close_fdp(&backup->directory_fd);
    free(backup);
}

enum error_code backup_set_key(struct clerk *clerk, const uint8_t backup_key[HPKE_KEY_SIZE], const char *by,
                               struct error *reterr)
{
    json_t *details = json_pack("{s:s}", "actor", by);
    enum error_code code = sql_run(clerk->sql, reterr, "UPDATE moving SET backup_key = ?", "b", backup_key,
                                   (size_t)HPKE_KEY_SIZE);
    if (!code)
        code = json_set_hex(details, "backup_key", backup_key, HPKE_KEY_SIZE, reterr);
    if (!code)
        code = record_append(clerk, "backup-key", TAKE(details), reterr);
    json_decref(details);
    return code;
}

enum error_code backup_note(struct clerk *clerk, const struct backup_facts *facts, const char *by,
                            struct error *reterr)
{
    return sql_run(clerk->sql, reterr,
                   "INSERT INTO backups(id, backup_key, made_at, made_by) VALUES(?, ?, ?, ?) "
                   "ON CONFLICT DO NOTHING",
                   "bbit", facts->id, sizeof(facts->id), facts->backup_key, sizeof(facts->backup_key),
                   facts->made_at_unix_s, by);
}

static enum error_code get_key(struct clerk *clerk, uint8_t ret_key[HPKE_KEY_SIZE], struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT backup_key FROM moving", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && (!is_there || !sql_bytes(&rows, 0, ret_key, HPKE_KEY_SIZE))) {
        code = error_set(reterr, ERR_DENIED, 0, "this authority has no backup key yet");
        error_remedy(reterr, "make one with --backup-key-out F, and keep F offline");
    }
    sql_done(&rows);
    return code;
}

/* The key that comes with the request, where one does, is the one from now on. */
static enum error_code choose_key(struct clerk *clerk, const struct job *job, const char *actor,
                                  uint8_t ret_key[HPKE_KEY_SIZE], struct error *reterr)
{
    if (!json_object_get(job->arguments, "backup_key"))
        return get_key(clerk, ret_key, reterr);
    enum error_code code = json_get_hex(job->arguments, "backup_key", ret_key, HPKE_KEY_SIZE, reterr);
    if (code)
        return error_set(reterr, ERR_USAGE, 0, "a backup key that is none");
    return backup_set_key(clerk, ret_key, actor, reterr);
}

/* The database as the last commit left it; the clerk's keyring is of that commit too. */
static enum error_code take_snapshot(struct clerk *clerk, struct backup *backup, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_open(clerk->database_path, SQL_READ_ONLY, &backup->snapshot, reterr);
    if (!code)
        code = sql_run(backup->snapshot, reterr, "BEGIN", "");
    if (!code)
        code = sql_select(backup->snapshot, &rows, reterr, "SELECT generation FROM state", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    backup->generation = !code && is_there ? (uint64_t)sql_integer(&rows, 0) : 0;
    sql_done(&rows);
    if (!code && backup->generation != clerk->keyring->generation)
        code = error_set(reterr, ERR_CORRUPT, 0, "the database is not of the keyring's generation");
    return code ? code : keyring_format(clerk->keyring, &backup->keyring, reterr);
}

static enum error_code begin(struct clerk *clerk, const char *actor, struct backup *backup,
                             struct error *reterr)
{
    const size_t directory_length = strlen(clerk->database_path) - strlen("/" DIRECTORY_DATABASE);
    _cleanup_(freep) char *directory = strndup(clerk->database_path, directory_length);
    json_t *details = json_pack("{s:s}", "actor", actor);
    if (!directory || !details) {
        json_decref(details);
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    randombytes_buf(backup->facts.id, sizeof(backup->facts.id));
    backup->facts.made_at_unix_s = clerk->now_unix_s;
    descriptor_fingerprint(clerk->face->descriptor.root, backup->facts.root_fingerprint);
    backup->directory_fd = dup(clerk->place.directory_fd);
    enum error_code code = directory_path(directory, DIRECTORY_COPY, &backup->copy_path, reterr);
    if (!code)
        code = take_snapshot(clerk, backup, reterr);
    if (!code)
        code = backup_note(clerk, &backup->facts, actor, reterr);
    if (!code)
        code = json_set_hex(details, "backup", backup->facts.id, BACKUP_ID_SIZE, reterr);
    if (!code)
        code = json_set_hex(details, "backup_key", backup->facts.backup_key, HPKE_KEY_SIZE, reterr);
    if (!code)
        code = record_append(clerk, "backup-made", TAKE(details), reterr);
    json_decref(details);
    return code;
}

static enum error_code write_head(struct bulk *bulk, const struct backup *backup, struct error *reterr)
{
    const uint64_t generation = htole64(backup->generation);
    const uint32_t length = htole32((uint32_t)backup->keyring->length);
    enum error_code code = bulk_write(bulk, &generation, sizeof(generation), reterr);
    if (!code)
        code = bulk_write(bulk, &length, sizeof(length), reterr);
    return code ? code : bulk_write(bulk, backup->keyring->bytes, backup->keyring->length, reterr);
}

static enum error_code write_database(struct bulk *bulk, int fd, struct error *reterr)
{
    _cleanup_(freep) uint8_t *piece = malloc(COPY_PIECE);
    if (!piece)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (;;) {
        const ssize_t got = read(fd, piece, COPY_PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot read the copy of the database");
        if (got == 0)
            return OK;
        enum error_code code = bulk_write(bulk, piece, (size_t)got, reterr);
        if (code)
            return code;
    }
}

static enum error_code write_bulk(struct backup *backup, const struct secret *bulk_key, int database_fd,
                                  int bulk_fd, struct error *reterr)
{
    _cleanup_(bulk_freep) struct bulk *bulk = NULL;
    enum error_code code = bulk_write_begin(bulk_fd, backup->facts.id, bulk_key, &bulk, reterr);
    if (!code)
        code = write_head(bulk, backup, reterr);
    if (!code)
        code = write_database(bulk, database_fd, reterr);
    const int injected = code ? 0 : fault("authority.backup.write");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write the bulk");
    return code ? code : bulk_write_end(bulk, reterr);
}

/* The copy has a name only as long as SQLite needs one. One that a crash left is replaced. */
static enum error_code copy_database(struct backup *backup, int *ret_fd, struct error *reterr)
{
    enum error_code code = file_remove_durable(backup->directory_fd, DIRECTORY_COPY, 0, reterr);
    if (!code)
        code = sql_copy(backup->snapshot, backup->copy_path, reterr);
    (void)fault("authority.backup.copied");
    if (!code) {
        *ret_fd = openat(backup->directory_fd, DIRECTORY_COPY, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (*ret_fd < 0)
            code = error_set(reterr, ERR_FAILED, errno, "cannot open the copy of the database");
    }
    enum error_code removed =
        file_remove_durable(backup->directory_fd, DIRECTORY_COPY, 0, code ? NULL : reterr);
    return code ? code : removed;
}

static enum error_code backup_write(void *context, const struct authority_actor *actor, struct error *reterr)
{
    struct backup *backup = context;
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    _cleanup_(secret_freep) struct secret *bulk_key = NULL;
    _cleanup_(close_fdp) int database_fd = -1;
    uint8_t envelope[BACKUP_ENVELOPE_SIZE];
    pthread_mutex_lock(&one_at_a_time);
    enum error_code code = copy_database(backup, &database_fd, reterr);
    pthread_mutex_unlock(&one_at_a_time);
    if (!code)
        code = secret_new_random(STREAM_KEY_SIZE, &bulk_key, reterr);
    if (!code)
        code = write_bulk(backup, bulk_key, database_fd, actor->files[0], reterr);
    if (!code)
        code = backup_envelope_seal(&backup->facts, bulk_key, envelope, reterr);
    if (!code)
        code = file_write_all(actor->files[1], envelope, sizeof(envelope), reterr);
    return code ? error_prefix(reterr, "the backup is not written") : OK;
}

enum error_code operation_backup(struct clerk *clerk, struct job *job, struct error *reterr)
{
    char actor[OPERATION_ACTOR_SIZE];
    struct backup *backup = calloc(1, sizeof(*backup));
    if (!backup)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    backup->directory_fd = -1;
    operation_actor(job, actor);
    enum error_code code = operation_check_files(job, AUTHORITY_FILES, reterr);
    if (!code)
        code = choose_key(clerk, job, actor, backup->facts.backup_key, reterr);
    if (!code)
        code = begin(clerk, actor, backup, reterr);
    if (!code) {
        job->result = json_pack("{s:o, s:I}", "id", record_hex(backup->facts.id), "made_at",
                                (json_int_t)clerk->now_unix_s);
        code = job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    if (code) {
        backup_free(backup);
        return code;
    }
    job->later = (struct job_later){backup_write, backup_free, backup};
    job->changed = true;
    return OK;
}
