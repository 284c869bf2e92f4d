#include "fill.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "authority/directory.h"
#include "authority/keyslots.h"
#include "authority/record.h"
#include "authority/state.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "player.h"

enum { BATCH = 20000 };

static enum error_code write_descriptor(const struct clerk *clerk, const char *path, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? error_set(reterr, ERR_FAILED, errno, "cannot make %s", path)
                  : file_write_all(fd, clerk->face->bytes.data, clerk->face->bytes.length, reterr);
}

static enum error_code find_group(struct clerk *clerk, const char *name, const char *unlock,
                                  struct group *ret_group, struct error *reterr)
{
    enum error_code code = group_find_by_name(clerk, name, ret_group, NULL);
    if (code != ERR_NOT_FOUND)
        return code;
    _cleanup_(json_freep) json_t *document = group_default_document();
    code = json_set_new(document, "unlock", json_string(unlock), reterr);
    if (!code)
        code = group_write(clerk, name, document, reterr);
    return code ? code : group_find_by_name(clerk, name, ret_group, reterr);
}

/* docs/protocol.md "Enrolling": what the two messages leave. */
static enum error_code enroll(struct clerk *clerk, struct host *host, struct error *reterr)
{
    json_t *details = record_of_host(host->id);
    enum error_code code = host_insert(clerk, host, reterr);
    if (!code)
        code = json_set_new(details, "name", json_string(host->name), reterr);
    if (!code)
        code = json_set_hex(details, "identity", host->identity, sizeof(host->identity), reterr);
    if (!code)
        code = json_set_new(details, "address", json_string("192.0.2.17"), reterr);
    if (!code)
        code = record_append(clerk, "host-enrolled", TAKE(details), reterr);
    json_decref(details);
    host->is_confirmed = true;
    if (!code)
        code = host_update(clerk, host, reterr);
    return code ? code : record_append(clerk, "host-confirmed", record_of_host(host->id), reterr);
}

static enum error_code bind_keyslot(struct clerk *clerk, const struct host *host, const struct player *player,
                                    struct error *reterr)
{
    struct keyslot keyslot = {0};
    json_t *details = record_of_host(host->id);
    memcpy(keyslot.id, player->keyslot, sizeof(keyslot.id));
    memcpy(keyslot.vault, player->vault, sizeof(keyslot.vault));
    memcpy(keyslot.bound, player->blinded, sizeof(player->blinded));
    memcpy(keyslot.bound + sizeof(player->blinded), player->blinded, sizeof(player->blinded));
    enum error_code code = keyslot_insert(clerk, host, &keyslot, "root", reterr);
    if (!code)
        code = json_set_hex(details, "keyslot", keyslot.id, sizeof(keyslot.id), reterr);
    if (!code)
        code = json_set_hex(details, "vault", keyslot.vault, sizeof(keyslot.vault), reterr);
    if (!code)
        code = json_set_new(details, "vault_name", json_string("root"), reterr);
    if (!code)
        code = record_append(clerk, "keyslot-bound", TAKE(details), reterr);
    json_decref(details);
    return code;
}

static enum error_code add_one(struct clerk *clerk, int64_t group_id, uint64_t number, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *identity = NULL;
    struct player player;
    struct host host = {.group_id = group_id, .created_at_unix_s = clerk->now_unix_s};
    player_of(number, &player);
    memcpy(host.id, player.id, sizeof(host.id));
    snprintf(host.name, sizeof(host.name), "%s", player.name);
    enum error_code code = player_identity(&player, &identity, reterr);
    if (!code)
        code = hpke_public_key(identity, host.identity, reterr);
    if (!code)
        code = enroll(clerk, &host, reterr);
    return code ? code : bind_keyslot(clerk, &host, &player, reterr);
}

static enum error_code add_all(struct clerk *clerk, const char *name, const char *unlock, uint64_t first,
                               uint64_t count, struct error *reterr)
{
    struct group group = {0};
    enum error_code code = OK;
    for (uint64_t done = 0; !code && done < count;) {
        const uint64_t most = count - done < BATCH ? count : done + BATCH;
        code = clerk_begin(clerk, reterr);
        if (!code && !group.document)
            code = find_group(clerk, name, unlock, &group, reterr);
        for (; !code && done < most; done++)
            code = add_one(clerk, group.id, first + done, reterr);
        if (!code)
            code = clerk_commit(clerk, reterr);
        if (!code && clerk->has_old_keyring)
            code = clerk_destroy_old(clerk, reterr);
    }
    group_done(&group);
    return code;
}

enum error_code fill(const char *directory, const char *group, const char *unlock, unsigned long long first,
                     unsigned long long count, const char *descriptor_path, struct error *reterr)
{
    _cleanup_(close_fdp) int directory_fd = -1, lock_fd = -1;
    struct clerk clerk = {.clock = clock_system()};
    face_place_init(&clerk.face_place);
    enum error_code code = presence_init(&clerk.presence, reterr);
    if (!code)
        code = directory_lock(directory, &directory_fd, &lock_fd, reterr);
    clerk.place = (struct keyring_place){.directory_fd = directory_fd};
    if (!code)
        code = directory_database(directory, &clerk.database_path, reterr);
    if (!code)
        code = sql_open(clerk.database_path, SQL_OPEN, &clerk.sql, reterr);
    if (!code) /* nobody waits for any of these transactions */
        code = sql_script(clerk.sql, "PRAGMA cache_size = -1048576; PRAGMA synchronous = OFF;", reterr);
    if (!code)
        code = state_read(&clerk, reterr);
    if (!code)
        code = write_descriptor(&clerk, descriptor_path, reterr);
    if (!code)
        code = add_all(&clerk, group, unlock, first, count, reterr);
    sql_close(clerk.sql);
    keyring_free(clerk.keyring);
    keyring_free(clerk.next_keyring);
    face_place_done(&clerk.face_place);
    group_forget(&clerk);
    presence_done(&clerk.presence);
    free(clerk.checkpoint);
    free(clerk.database_path);
    return code;
}
