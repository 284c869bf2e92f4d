#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "authority/clerk.h"
#include "authority/directory.h"
#include "authority/hosts.h"
#include "authority/record.h"
#include "authority/rotation.h"
#include "authority/schema.h"
#include "base/file.h"
#include "base/text.h"

/* The descriptor, signed with a root that is drawn here and leaves by root_out_fd alone. */
static enum error_code sign_descriptor(const struct keyring *keyring, const char *const *addresses,
                                       unsigned count, int64_t now_unix_s, int root_out_fd,
                                       struct buffer *wire, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *root = NULL;
    _cleanup_(buffer_done) struct buffer text = {0};
    struct descriptor descriptor = {
        .sequence = 1, .epoch = 1, .issued_at_unix_s = now_unix_s, .has_next = true};
    enum error_code code = OK;
    for (unsigned i = 0; !code && i < count; i++)
        code = descriptor_add_address(&descriptor, addresses[i], reterr);
    if (!code)
        code = sign_key_new(&root, descriptor.root, reterr);
    if (!code)
        code = hpke_public_key(keyring->message_key, descriptor.message_key, reterr);
    if (!code)
        code = hpke_public_key(keyring->next_message_key, descriptor.next_message_key, reterr);
    if (!code)
        code = sign_public_key(keyring->signing_key, descriptor.signing_key, reterr);
    if (!code)
        code = descriptor_format(&descriptor, &text, reterr);
    if (!code)
        code = descriptor_sign(text.data, text.length, root, wire, reterr);
    if (!code)
        code = file_write_all(root_out_fd, root->bytes, root->length, reterr);
    return code;
}

static enum error_code write_first(struct clerk *clerk, const struct buffer *descriptor,
                                   const uint8_t *backup_key, struct error *reterr)
{
    _cleanup_(json_freep) json_t *policy = group_default_document();
    enum error_code code = schema_create(clerk->sql, reterr);
    if (!code)
        code = sql_run(clerk->sql, reterr,
                       "INSERT INTO state(one, epoch, generation, next_bucket, clock_highest, descriptor) "
                       "VALUES(1, 1, ?, 1, 0, ?)",
                       "ib", (int64_t)clerk->keyring->generation, descriptor->data, descriptor->length);
    if (!code)
        code = rotation_keep_descriptor(clerk, 1, descriptor->data, descriptor->length, reterr);
    if (!code)
        code =
            sql_run(clerk->sql, reterr, "INSERT INTO moving(one, backup_key, imaged_until) VALUES(1, ?, ?)",
                    "bi", backup_key, (size_t)HPKE_KEY_SIZE,
                    keyring_has_holder_elsewhere(&clerk->place) ? INT64_C(0) : INT64_MAX);
    if (!code)
        code = policy ? group_write(clerk, "default", policy, reterr)
                      : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    clerk->epoch = 1;
    if (!code)
        code = record_append(clerk, "authority", json_pack("{s:i}", "epoch", 1), reterr);
    return code;
}

/* A database that holds an authority is never touched. One that a crash left empty is filled. */
static enum error_code check_empty(struct sql *sql, struct error *reterr)
{
    int64_t version = 0;
    enum error_code code = sql_get_version(sql, &version, reterr);
    if (code || !version)
        return code;
    error_set(reterr, ERR_EXISTS, 0, "there is an authority in this directory already");
    return error_remedy(reterr, "serve it with huskd serve, or name another directory with --dir");
}

static enum error_code fill(struct clerk *clerk, int root_out_fd, const uint8_t *backup_key,
                            const char *const *addresses, unsigned count, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer descriptor = {.maximum = DESCRIPTOR_MAXIMUM};
    enum error_code code = keyring_check_holder_is_free(&clerk->place, reterr);
    if (!code)
        code = keyring_new(&clerk->keyring, reterr);
    if (!code)
        code = sign_descriptor(clerk->keyring, addresses, count, clerk->now_unix_s, root_out_fd, &descriptor,
                               reterr);
    if (!code)
        code = keyring_write(clerk->keyring, &clerk->place, reterr);
    if (!code)
        code = sql_begin(clerk->sql, reterr);
    if (code)
        return code;
    code = write_first(clerk, &descriptor, backup_key, reterr);
    if (!code)
        code = sql_commit(clerk->sql, reterr);
    if (code)
        sql_roll_back(clerk->sql);
    return code;
}

bool authority_has_holder_elsewhere(const struct authority_options *options)
{
    _cleanup_(close_fdp) int fd = open(options->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct keyring_place place = {.directory_fd = fd, .holder = options->holder};
    return fd >= 0 && keyring_has_holder_elsewhere(&place);
}

enum error_code authority_init(const struct authority_options *options, int root_out_fd,
                               const char *const *addresses, unsigned count, struct error *reterr)
{
    struct clerk clerk = {.now_unix_s = clock_unix_s(options->clock)};
    _cleanup_(close_fdp) int directory_fd = -1, lock_fd = -1;
    if (count == 0 || count > DESCRIPTOR_ADDRESSES_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "an authority has 1 to %d addresses",
                         DESCRIPTOR_ADDRESSES_MAXIMUM);
    if (mkdir(options->directory, 0700) < 0 && errno != EEXIST) {
        const int os_errno = errno;
        return error_set(reterr, ERR_FAILED, os_errno, "cannot make %s", text_shown(options->directory));
    }
    enum error_code code = directory_lock(options->directory, &directory_fd, &lock_fd, reterr);
    clerk.place = (struct keyring_place){.directory_fd = directory_fd, .holder = options->holder};
    if (!code)
        code = directory_database(options->directory, &clerk.database_path, reterr);
    if (!code)
        code = sql_open(clerk.database_path, SQL_CREATE, &clerk.sql, reterr);
    if (!code)
        code = check_empty(clerk.sql, reterr);
    if (!code)
        code = fill(&clerk, root_out_fd, options->backup_key, addresses, count, reterr);
    sql_close(clerk.sql);
    keyring_free(clerk.keyring);
    free(clerk.database_path);
    return code;
}
