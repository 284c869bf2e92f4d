#include "erase/copies.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/file.h"
#include "base/text.h"
#include "client/client.h"

/* What still guards a local keyslot once a copy of it is in foreign hands. */
static const char *guard(enum keyslot_kind kind)
{
    switch (kind) {
    case KEYSLOT_PASSPHRASE:
        return "its passphrase";
    case KEYSLOT_KEYFILE:
        return "its keyfile";
    default:
        return "its recovery key";
    }
}

/* When the last file of this keyslot was destroyed, by whichever run; otherwise_unix_s where that is not
 * noted of each. */
static int64_t destroyed_at(const struct erase_progress *progress, const char *id, int64_t otherwise_unix_s)
{
    int64_t last = 0;
    size_t index;
    json_t *item;
    json_array_foreach(progress->keyslots, index, item)
    {
        const char *noted = json_string_value(json_object_get(item, "id"));
        if (!noted || strcmp(noted, id) != 0)
            continue;
        const int64_t at = json_integer_value(json_object_get(item, "destroyed"));
        if (at <= 0)
            return otherwise_unix_s;
        last = at > last ? at : last;
    }
    return last ? last : otherwise_unix_s;
}

static void name_keyslot(const struct vault_key_copy *copy, const struct erase_progress *progress,
                         int64_t now_unix_s, struct finding_list *findings)
{
    char id[2 * sizeof(copy->id) + 1], from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE];
    const char *kind = keyslot_kind_word(copy->kind);
    text_format_hex(id, copy->id.bytes, sizeof(copy->id.bytes));
    clock_format(copy->created_unix_s, from);
    clock_format(copy->removed_unix_s ? copy->removed_unix_s : destroyed_at(progress, id, now_unix_s), to);
    finding_add(
        findings, FINDING_TELLS, "key-copy-snapshot", id,
        "delete the snapshots and backups of this disk, and destroy what opens the keyslot",
        "snapshots and backups made between %s and %s may hold this %s keyslot; with %s it opens the vault "
        "in them",
        from, to, kind, guard(copy->kind));
    if (copy->exported_unix_s == 0)
        return;
    clock_format(copy->exported_unix_s, from);
    finding_add(
        findings, FINDING_TELLS, "key-copy-export", id, "destroy the exported file",
        "this %s keyslot was exported, last on %s; with %s the file opens the vault in any copy of the disk",
        kind, from, guard(copy->kind));
}

static const struct vault_key_copy *find_copy(const struct vault *vault, const char *id_text)
{
    struct keyslot_id id;
    if (!id_text || text_parse_hex(id_text, id.bytes, sizeof(id.bytes), NULL))
        return NULL;
    for (size_t i = 0; i < vault->key_copy_count; i++)
        if (!memcmp(&vault->key_copies[i].id, &id, sizeof(id)))
            return &vault->key_copies[i];
    return NULL;
}

/* A keyslot that was destroyed here and that vault.json does not name, as after a crash between the two, was
 * on the disk all the same. Of an unreadable one only its name may say that it is an authority's. */
static void count_destroyed(const struct vault *vault, json_t *item, struct erase_facts *facts,
                            struct finding_list *findings)
{
    const char *id = json_string_value(json_object_get(item, "id"));
    const char *file = json_string_value(json_object_get(item, "file"));
    const char *kind = json_string_value(json_object_get(item, "kind"));
    const struct vault_key_copy *copy = find_copy(vault, id ? id : file);
    bool as_named = copy && (!kind || !strcmp(kind, keyslot_kind_word(copy->kind)));
    if (as_named) /* its authority ends it, or it is named as a local one already */
        return;
    facts->local_copies++;
    const char *subject = id ? text_shown(id) : file ? text_shown(file) : vault->name;
    if (kind)
        finding_add(
            findings, FINDING_TELLS, "key-copy-snapshot", subject,
            "delete the snapshots and backups of this disk, and destroy what opens the keyslot",
            "this %s keyslot was here and vault.json does not name it; snapshots and backups may hold "
            "it",
            text_shown(kind));
    else
        finding_add(findings, FINDING_TELLS, "key-copies-unknown", subject,
                    "delete all snapshots and backups of this disk",
                    "a file that was destroyed among the keyslots could not be read, so what it opened is "
                    "not known");
}

/* Keyslots that vault.json does not tell of count too. */
static void count_unlisted(const struct vault *vault, const struct erase_progress *progress,
                           struct erase_facts *facts, struct finding_list *findings)
{
    if (vault->damage.code || !strcmp(progress->manifest, "changed")) {
        facts->copies_unknown = true;
        finding_add(findings, FINDING_TELLS, "key-copies-unknown", vault->name,
                    "delete all snapshots and backups of this disk",
                    "vault.json %s, so which keyslots there once were is not known",
                    vault->damage.code ? "cannot be read" : "is not as husk wrote it");
    } else if (strcmp(progress->manifest, "authenticated") != 0) {
        facts->copies_unknown = true;
        finding_add(
            findings, FINDING_TELLS, "key-copies-unknown", vault->name,
            "delete all snapshots and backups of this disk; unlock a vault before it is erased, where "
            "that can be",
            "the vault was locked, so vault.json could not be authenticated: which keyslots there "
            "once were is its word alone");
    }
    for (size_t i = 0; i < json_array_size(progress->keyslots); i++)
        count_destroyed(vault, json_array_get(progress->keyslots, i), facts, findings);
    if (vault->key_copies_forgotten > 0) {
        facts->local_copies += 1;
        finding_add(
            findings, FINDING_TELLS, "key-copies-unknown", vault->name,
            "delete all snapshots and backups of this disk",
            "not every keyslot that once was is listed: %" PRIu64
            " times one removed long ago was dropped, or a vault.json that husk did not write was accepted",
            vault->key_copies_forgotten);
    }
}

static enum error_code name_keyfiles(const struct vault *vault, const char *at, struct finding_list *findings,
                                     struct error *reterr)
{
    struct host_record record = {0};
    enum error_code code = host_read(at, &record, reterr);
    for (size_t i = 0; !code && i < record.keyfile_count; i++)
        if (!memcmp(&record.keyfiles[i].vault, &vault->id, sizeof(vault->id)))
            finding_add(
                findings, FINDING_TELLS, "key-copy-keyfile", text_shown(record.keyfiles[i].path),
                "destroy the keyfile, unless it opens something else too",
                "it opened this vault and still opens its keyfile keyslots in copies of the disk; husk does "
                "not touch it");
    host_record_done(&record);
    return code;
}

static void name_authority_copy(const char *authority, const char *word, struct finding_list *findings)
{
    if (!strcmp(word, erased_copy_words[ERASED_COPY_IMAGE]))
        finding_add(
            findings, FINDING_TELLS, "key-copy-authority-image", text_shown(authority),
            "destroy the images and backups of that machine's disk; an authority made with huskd init "
            "--holder, on another medium, has no such copies",
            "nothing on another filesystem seals the keyring of this authority, or did before it was "
            "restored: an image of its disk made while the keyslot existed opens the vault in copies of "
            "this disk");
    else if (!strcmp(word, erased_copy_words[ERASED_COPY_BACKUP]))
        finding_add(
            findings, FINDING_TELLS, "key-copy-authority-backup", text_shown(authority),
            "destroy the envelope of the backup, and declare it there: huskd keycopy list, keycopy "
            "destroyed",
            "a backup of this authority was made while the keyslot existed: it and its envelope, with "
            "the backup key, open the vault in copies of this disk");
    else
        finding_add(findings, FINDING_TELLS, "key-copies-unknown", text_shown(authority),
                    "ask the administrator of that authority",
                    "this authority names a key copy of a kind that this husk does not know: %s",
                    text_shown(word));
}

/* What the authorities that answered say of themselves. */
static void name_authority_copies(const struct erase_progress *progress, struct erase_facts *facts,
                                  struct finding_list *findings)
{
    size_t index, number;
    json_t *item, *copy;
    json_array_foreach(progress->authorities, index, item)
    {
        const char *authority = json_string_value(json_object_get(item, "authority"));
        json_array_foreach(json_object_get(json_object_get(item, "answer"), "copies"), number, copy)
        {
            const char *word = json_string_value(copy);
            facts->authority_copies++;
            name_authority_copy(authority ? authority : "", word ? word : "", findings);
        }
    }
}

/* Removed before, and of which no authority that answered says that it destroyed its part, then or now. Those
 * that are still here are compared where the answers come in. */
static void name_unknown(const struct vault_key_copy *copy, const struct erase_progress *progress,
                         struct erase_facts *facts, struct finding_list *findings)
{
    size_t index, number;
    json_t *item, *id;
    char shown[2 * sizeof(copy->id.bytes) + 1];
    text_format_hex(shown, copy->id.bytes, sizeof(copy->id.bytes));
    json_array_foreach(progress->authorities, index, item)
    {
        json_array_foreach(json_object_get(json_object_get(item, "answer"), "keyslots"), number, id)
        {
            if (json_is_string(id) && !strcmp(json_string_value(id), shown))
                return;
        }
    }
    facts->copies_unknown = true;
    finding_add(findings, FINDING_TELLS, "keyslot-not-at-authority", shown,
                "destroy backups and earlier disks of the authority it was bound to",
                "no authority that answered knows of this keyslot, which was removed before");
}

enum error_code erase_name_copies(const struct vault *vault, const char *at,
                                  const struct erase_progress *progress, int64_t now_unix_s,
                                  struct erase_facts *facts, struct finding_list *findings,
                                  struct error *reterr)
{
    for (size_t i = 0; i < vault->key_copy_count; i++) {
        const struct vault_key_copy *copy = &vault->key_copies[i];
        if (copy->kind == KEYSLOT_AUTHORITY) { /* its authority ends it, in every copy */
            if (copy->removed_unix_s && facts->authorities_open == 0)
                name_unknown(copy, progress, facts, findings);
            continue;
        }
        facts->local_copies++;
        name_keyslot(copy, progress, now_unix_s, findings);
    }
    count_unlisted(vault, progress, facts, findings);
    name_authority_copies(progress, facts, findings);
    return at && !vault->damage.code ? name_keyfiles(vault, at, findings, reterr) : OK;
}
