/* The keyslot files of a vault. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "vault/store.h"

enum { ID_TEXT_SIZE = 2 * sizeof(struct keyslot_id) + 1 };

static bool ids_are_equal(const struct keyslot_id *left, const struct keyslot_id *right)
{
    return !memcmp(left, right, sizeof(*left));
}

static const char *id_text(const struct keyslot_id *id, char text[ID_TEXT_SIZE])
{
    text_format_hex(text, id->bytes, sizeof(id->bytes));
    return text;
}

enum error_code vault_write_keyslot(int keyslots_fd, const struct keyslot *keyslot, struct error *reterr)
{
    char name[ID_TEXT_SIZE], left[FILE_TEMPORARY_SIZE];
    struct destroy_result result;
    int injected = fault("vault.keyslot.write");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot write the keyslot %s",
                         id_text(&keyslot->id, name));
    enum error_code code = file_write_destroyable(keyslots_fd, id_text(&keyslot->id, name), 0600,
                                                  keyslot->file, sizeof(keyslot->file), left, reterr);
    if (*left)
        (void)!destroy_file(keyslots_fd, left, &result, NULL); /* else the next change of keyslots does */
    if (!code)
        (void)fault("vault.keyslot.written");
    return code;
}

static enum error_code open_keyslots(const struct vault *vault, int *ret_fd, struct error *reterr)
{
    enum error_code code = directory_open(vault->fd, VAULT_KEYSLOTS_NAME, ret_fd, reterr);
    if (code)
        error_prefix(reterr, "vault %s", vault->name);
    return code;
}

static enum error_code read_keyslot(const struct vault *vault, int keyslots_fd, const struct keyslot_id *id,
                                    struct keyslot *ret_keyslot, struct error *reterr)
{
    char name[ID_TEXT_SIZE];
    struct buffer bytes = {0};
    struct keyslot keyslot;
    enum error_code code = file_read(keyslots_fd, id_text(id, name), KEYSLOT_FILE_SIZE, &bytes, reterr);
    if (!code)
        code = keyslot_parse((const uint8_t *)bytes.data, bytes.length, &keyslot, reterr);
    buffer_done(&bytes);
    if (!code && !ids_are_equal(&keyslot.id, id))
        code = error_set(reterr, ERR_CORRUPT, 0, "the file is that of another keyslot");
    if (!code && memcmp(&keyslot.vault, &vault->id, sizeof(keyslot.vault)))
        code = error_set(reterr, ERR_CORRUPT, 0, "it belongs to another vault");
    if (code) {
        error_prefix(reterr, "vault %s, keyslot %s", vault->name, name);
        return code;
    }
    *ret_keyslot = keyslot;
    return OK;
}

enum error_code vault_read_keyslot(const struct vault *vault, const struct keyslot_id *id,
                                   struct keyslot *ret_keyslot, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = open_keyslots(vault, &fd, reterr);
    return code ? code : read_keyslot(vault, fd, id, ret_keyslot, reterr);
}

static struct vault_key_copy *find_copy(struct vault_key_copy *copies, size_t count,
                                        const struct keyslot_id *id)
{
    for (size_t i = 0; i < count; i++)
        if (ids_are_equal(&copies[i].id, id))
            return &copies[i];
    return NULL;
}

bool vault_names_authority(const struct vault *vault, const struct authority_id *id)
{
    for (size_t i = 0; i < vault->authority_count; i++)
        if (!memcmp(&vault->authorities[i], id, sizeof(*id)))
            return true;
    return false;
}

enum error_code vault_note_authority(struct vault *vault, const struct keyslot *keyslot, struct error *reterr)
{
    if (keyslot->kind != KEYSLOT_AUTHORITY || vault_names_authority(vault, &keyslot->authority))
        return OK;
    if (vault->authority_count == VAULT_AUTHORITIES_MAXIMUM)
        return error_set(reterr, ERR_DENIED, 0, "the vault %s is bound to %d authorities, more cannot be",
                         vault->name, VAULT_AUTHORITIES_MAXIMUM);
    vault->authorities[vault->authority_count++] = keyslot->authority;
    return OK;
}

struct id_list {
    const struct vault *vault;
    struct keyslot_id *items; /* owned */
    size_t count;
};

static enum error_code id_list_add(struct id_list *list, const struct keyslot_id *id, struct error *reterr)
{
    struct keyslot_id *items = realloc(list->items, (list->count + 1) * sizeof(*items));
    if (!items)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the keyslots");
    list->items = items;
    list->items[list->count++] = *id;
    return OK;
}

/* Files the manifest does not name: being added when a crash came. Removed ones whose destroying was cut
 * short are not among them, for they are no keyslots any more. */
static enum error_code add_unnamed(const char *name, void *context, struct error *reterr)
{
    struct id_list *list = context;
    struct keyslot_id id;
    if (text_parse_hex(name, id.bytes, sizeof(id.bytes), NULL))
        return OK;
    if (list->count >= 2 * VAULT_KEYSLOTS_MAXIMUM) /* someone fills the directory: enough is enough */
        return OK;
    return find_copy(list->vault->key_copies, list->vault->key_copy_count, &id)
               ? OK
               : id_list_add(list, &id, reterr);
}

static int by_id(const void *left, const void *right)
{
    return memcmp(left, right, sizeof(struct keyslot_id));
}

enum error_code
vault_each_keyslot(const struct vault *vault,
                   enum error_code (*each)(const struct keyslot_id *id, const struct keyslot *keyslot,
                                           const struct error *why, void *context, struct error *reterr),
                   void *context, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    struct id_list list = {.vault = vault};
    enum error_code code = open_keyslots(vault, &fd, reterr);
    for (size_t i = 0; i < vault->keyslot_count && !code; i++)
        code = id_list_add(&list, &vault->keyslots[i], reterr);
    if (!code)
        code = directory_list(fd, add_unnamed, &list, reterr);
    if (!code && list.count > 0)
        qsort(list.items, list.count, sizeof(*list.items), by_id);
    for (size_t i = 0; i < list.count && !code; i++) {
        struct keyslot keyslot;
        struct error why = ERROR_NONE;
        bool whole = read_keyslot(vault, fd, &list.items[i], &keyslot, &why) == OK;
        if (vault->mark != VAULT_ACTIVE && why.code == ERR_NOT_FOUND)
            continue; /* destroyed, as it should be */
        code = each(&list.items[i], whole ? &keyslot : NULL, whole ? NULL : &why, context, reterr);
    }
    free(list.items);
    return code;
}

/* The two arrays of next, copied from vault, with room for one more; freed by the caller. */
static enum error_code copy_keyslots(const struct vault *vault, struct vault *next, struct error *reterr)
{
    next->keyslots = calloc(vault->keyslot_count + 1, sizeof(*next->keyslots));
    next->key_copies = calloc(vault->key_copy_count + 1, sizeof(*next->key_copies));
    if (!next->keyslots || !next->key_copies)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the keyslots");
    memcpy(next->keyslots, vault->keyslots, vault->keyslot_count * sizeof(*next->keyslots));
    memcpy(next->key_copies, vault->key_copies, vault->key_copy_count * sizeof(*next->key_copies));
    return OK;
}

/* Write the manifest with the keyslots of next; on success vault has them, else next's arrays are freed. */
static enum error_code write_keyslots(struct vault *vault, struct vault *next, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *mac_key = NULL;
    struct vault old = *vault;
    enum error_code code = vault_take_mac_key(vault, &mac_key, reterr);
    if (!code) {
        *vault = *next;
        code = vault_write(vault, mac_key, reterr);
    }
    if (code) {
        *vault = old;
        free(next->keyslots);
        free(next->key_copies);
        return code;
    }
    free(old.keyslots);
    free(old.key_copies);
    return OK;
}

/* Room for one more in the list: the oldest removed and never exported one goes, and is counted. */
static enum error_code make_room(struct vault *next, struct error *reterr)
{
    if (next->key_copy_count < VAULT_KEY_COPIES_MAXIMUM)
        return OK;
    for (size_t i = 0; i < next->key_copy_count; i++) {
        if (next->key_copies[i].removed_unix_s == 0 || next->key_copies[i].exported_unix_s != 0)
            continue;
        memmove(&next->key_copies[i], &next->key_copies[i + 1],
                (next->key_copy_count - i - 1) * sizeof(*next->key_copies));
        next->key_copy_count--;
        next->key_copies_forgotten++;
        return OK;
    }
    return error_set(reterr, ERR_DENIED, 0, "the vault %s cannot remember more than %d keyslots", next->name,
                     VAULT_KEY_COPIES_MAXIMUM);
}

struct sweep {
    const struct vault *vault;
    int fd;
};

/* Whether a crash left the file: a keyslot whose removal was cut short and the temporary of a write hold a
 * wrapped vault secret; an empty file is what is left of a destruction. Anything else someone put there. */
static bool is_left_over(const struct sweep *sweep, const char *name)
{
    struct keyslot_id id;
    struct stat status;
    if (text_parse_hex(name, id.bytes, sizeof(id.bytes), NULL) == OK) {
        const struct vault_key_copy *copy =
            find_copy(sweep->vault->key_copies, sweep->vault->key_copy_count, &id);
        return copy && copy->removed_unix_s != 0;
    }
    return name[0] == '.' ||
           (fstatat(sweep->fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_size == 0);
}

static enum error_code sweep_file(const char *name, void *context, struct error *reterr)
{
    const struct sweep *sweep = context;
    struct destroy_result result;
    return is_left_over(sweep, name) ? destroy_file(sweep->fd, name, &result, reterr) : OK;
}

static enum error_code sweep_keyslots(const struct vault *vault, int keyslots_fd, struct error *reterr)
{
    struct sweep sweep = {vault, keyslots_fd};
    enum error_code code = directory_list(keyslots_fd, sweep_file, &sweep, reterr);
    if (code)
        error_prefix(reterr, "vault %s, what an earlier command left in %s", vault->name,
                     VAULT_KEYSLOTS_NAME);
    return code;
}

/* After a failed write either manifest may be the one on disk. */
static bool disk_names(const struct vault *vault, const char *id)
{
    struct buffer text = {.maximum = VAULT_FILE_MAXIMUM};
    bool named = file_read(vault->fd, VAULT_FILE_NAME, VAULT_FILE_MAXIMUM, &text, NULL) != OK ||
                 (text.data && strstr(text.data, id));
    buffer_done(&text);
    return named;
}

enum error_code vault_add_keyslot(struct vault *vault, const struct keyslot *keyslot, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    char name[ID_TEXT_SIZE];
    if (memcmp(&keyslot->vault, &vault->id, sizeof(vault->id)))
        return error_set(reterr, ERR_USAGE, 0, "a keyslot made for another vault");
    if (find_copy(vault->key_copies, vault->key_copy_count, &keyslot->id))
        return error_set(reterr, ERR_EXISTS, 0, "the vault %s has or had the keyslot %s already", vault->name,
                         id_text(&keyslot->id, name));
    if (vault->keyslot_count >= VAULT_KEYSLOTS_MAXIMUM)
        return error_set(reterr, ERR_DENIED, 0, "the vault %s has %d keyslots, more cannot be", vault->name,
                         VAULT_KEYSLOTS_MAXIMUM);
    struct vault next = *vault;
    enum error_code code = copy_keyslots(vault, &next, reterr);
    if (!code)
        code = make_room(&next, reterr);
    if (!code)
        code = vault_note_authority(&next, keyslot, reterr);
    if (!code)
        code = vault_check_mark(vault, reterr);
    if (!code)
        code = open_keyslots(vault, &fd, reterr);
    if (!code)
        code = sweep_keyslots(vault, fd, reterr);
    if (!code)
        code = vault_write_keyslot(fd, keyslot, reterr);
    if (code) {
        free(next.keyslots);
        free(next.key_copies);
        return code;
    }
    next.keyslots[next.keyslot_count++] = keyslot->id;
    next.key_copies[next.key_copy_count++] = (struct vault_key_copy){
        .id = keyslot->id, .kind = keyslot->kind, .created_unix_s = keyslot->created_unix_s};
    code = write_keyslots(vault, &next, reterr);
    if (code && !disk_names(vault, id_text(&keyslot->id, name))) {
        struct destroy_result result;
        (void)!destroy_file(fd, name, &result, NULL);
    }
    return code;
}

/* Whether some other keyslot of the manifest is whole, and so can open the vault for who has its key. */
static bool another_is_whole(const struct vault *vault, int keyslots_fd, const struct keyslot_id *id)
{
    for (size_t i = 0; i < vault->keyslot_count; i++) {
        struct keyslot keyslot;
        if (!ids_are_equal(&vault->keyslots[i], id) &&
            read_keyslot(vault, keyslots_fd, &vault->keyslots[i], &keyslot, NULL) == OK &&
            keyslot_is_whole(&keyslot))
            return true;
    }
    return false;
}

/* Drop from the manifest the authority of the keyslot that goes, where no other keyslot is bound to it. One
 * that cannot be read may be, so then it stays: an erase has to reach all. */
static void drop_authority(struct vault *next, int keyslots_fd, const struct keyslot *leaving)
{
    if (!leaving || leaving->kind != KEYSLOT_AUTHORITY)
        return;
    for (size_t i = 0; i < next->keyslot_count; i++) {
        struct keyslot other;
        if (read_keyslot(next, keyslots_fd, &next->keyslots[i], &other, NULL) ||
            !memcmp(&other.authority, &leaving->authority, sizeof(other.authority)))
            return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < next->authority_count; i++)
        if (memcmp(&next->authorities[i], &leaving->authority, sizeof(leaving->authority)) != 0)
            next->authorities[kept++] = next->authorities[i];
    next->authority_count = kept;
}

/* The manifest without the keyslot. One it never named (a crash while adding) is remembered too, where its
 * kind can be read. */
static enum error_code forget(struct vault *vault, int keyslots_fd, const struct keyslot_id *id,
                              const struct clock *clock, struct error *reterr)
{
    struct vault_key_copy *copy = find_copy(vault->key_copies, vault->key_copy_count, id);
    struct keyslot keyslot;
    bool whole = read_keyslot(vault, keyslots_fd, id, &keyslot, NULL) == OK;
    if (!copy && !whole)
        return OK;
    struct vault next = *vault;
    enum error_code code = copy_keyslots(vault, &next, reterr);
    if (!code && !copy)
        code = make_room(&next, reterr);
    if (code) {
        free(next.keyslots);
        free(next.key_copies);
        return code;
    }
    if (!copy)
        next.key_copies[next.key_copy_count++] = (struct vault_key_copy){
            .id = *id, .kind = keyslot.kind, .created_unix_s = keyslot.created_unix_s};
    copy = find_copy(next.key_copies, next.key_copy_count, id);
    copy->removed_unix_s = clock_unix_s(clock) > 0 ? clock_unix_s(clock) : 1; /* 0 would mean: still here */
    next.keyslot_count = 0;
    for (size_t i = 0; i < vault->keyslot_count; i++)
        if (!ids_are_equal(&vault->keyslots[i], id))
            next.keyslots[next.keyslot_count++] = vault->keyslots[i];
    drop_authority(&next, keyslots_fd, whole ? &keyslot : NULL);
    return write_keyslots(vault, &next, reterr);
}

enum error_code vault_remove_keyslot(struct vault *vault, const struct keyslot_id *id,
                                     const struct clock *clock, struct destroy_result *ret_result,
                                     struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    char name[ID_TEXT_SIZE];
    struct stat status;
    const struct vault_key_copy *copy = find_copy(vault->key_copies, vault->key_copy_count, id);
    enum error_code code = open_keyslots(vault, &fd, reterr);
    if (code)
        return code;
    if (!copy && fstatat(fd, id_text(id, name), &status, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set(reterr, ERR_NOT_FOUND, 0, "the vault %s has no keyslot %s", vault->name, name);
    if (copy && copy->removed_unix_s == 0 && !another_is_whole(vault, fd, id)) {
        error_set(reterr, ERR_DENIED, 0, "the keyslot %s is the last one that can open the vault %s",
                  id_text(id, name), vault->name);
        error_remedy(reterr,
                     "add another keyslot first; to make the data unreadable, husk erase %s --confirm %s",
                     vault->name, vault->name);
        return ERR_DENIED;
    }
    if (!copy || copy->removed_unix_s == 0)
        code = forget(vault, fd, id, clock, reterr);
    int injected = code ? 0 : fault("vault.keyslot.forget");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot destroy the keyslot");
    if (!code)
        code = destroy_file(fd, id_text(id, name), ret_result, reterr);
    if (code) {
        error_prefix(reterr, "vault %s, keyslot %s", vault->name, id_text(id, name));
        return code;
    }
    return sweep_keyslots(vault, fd, reterr);
}

enum error_code vault_record_export(struct vault *vault, const struct keyslot_id *id,
                                    const struct clock *clock, struct error *reterr)
{
    char name[ID_TEXT_SIZE];
    const struct vault_key_copy *there = find_copy(vault->key_copies, vault->key_copy_count, id);
    if (!there || there->removed_unix_s != 0)
        return error_set(reterr, ERR_NOT_FOUND, 0, "the vault %s has no keyslot %s", vault->name,
                         id_text(id, name));
    struct vault next = *vault;
    enum error_code code = copy_keyslots(vault, &next, reterr);
    if (code) {
        free(next.keyslots);
        free(next.key_copies);
        return code;
    }
    int64_t now = clock_unix_s(clock);
    next.key_copies[there - vault->key_copies].exported_unix_s = now > 0 ? now : 1;
    return write_keyslots(vault, &next, reterr);
}
