/* Which vaults there are on the filesystems of a host. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "vault/store.h"

/* Called with each vault's name on a filesystem; with NULL and why for a filesystem whose .husk cannot be
 * used. */
typedef enum error_code each_name(const struct filesystem *filesystem, const char *name,
                                  const struct error *why, void *context, struct error *reterr);

struct visit {
    const struct filesystem *filesystem;
    each_name *each;
    void *context;
};

static enum error_code visit_name(const char *name, void *context, struct error *reterr)
{
    const struct visit *visit = context;
    return visit->each(visit->filesystem, name, NULL, visit->context, reterr);
}

static enum error_code for_each_filesystem(const char *at, each_name *each, void *context,
                                           struct error *reterr)
{
    char resolved[PATH_MAX];
    if (!realpath(at, resolved))
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot use %s",
                         text_shown(at));
    struct filesystem_list list = {0};
    enum error_code code = filesystem_list_below(resolved, &list, reterr);
    for (size_t i = 0; i < list.count && !code; i++) {
        _cleanup_(close_fdp) int vaults_fd = -1;
        struct visit visit = {list.items[i], each, context};
        struct error why = ERROR_NONE;
        code = vault_open_vaults(list.items[i], &vaults_fd, &why);
        if (!code)
            code = directory_list(vaults_fd, visit_name, &visit, reterr);
        else
            code = code == ERR_NOT_FOUND ? OK : each(list.items[i], NULL, &why, context, reterr);
    }
    filesystem_list_done(&list);
    return code;
}

struct gathering {
    struct vault_list list;
    struct finding_list *findings;
    enum vault_reading reading;
};

static enum error_code append(struct vault_list *list, struct vault *vault, struct error *reterr)
{
    struct vault **items = realloc(list->items, (list->count + 1) * sizeof(struct vault *));
    if (!items)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the vaults");
    list->items = items;
    list->items[list->count++] = vault;
    return OK;
}

bool vault_name_is_unfinished(const char *name)
{
    size_t length = strlen(name);
    return length > 4 && !strcmp(name + length - 4, ".new");
}

/* husk makes no directory of another owner's: where users may write to the root of a filesystem, one of them
 * made it. */
static bool is_made_by_a_user(const struct filesystem *filesystem)
{
    struct stat status;
    return fstatat(filesystem->root_fd, HUSK_DIRECTORY, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           status.st_uid != 0;
}

static enum error_code gather(const struct filesystem *filesystem, const char *name, const struct error *why,
                              void *context, struct error *reterr)
{
    struct gathering *gathering = context;
    char subject[TEXT_SHOW_SIZE * 2];
    snprintf(subject, sizeof(subject), "%s/%s/%s/%s", text_shown(filesystem->mount_point), HUSK_DIRECTORY,
             VAULT_VAULTS_NAME, name ? text_shown(name) : "");
    if (name && vault_name_is_unfinished(name)) {
        finding_add(gathering->findings, FINDING_TELLS, "vault-unfinished", subject,
                    "make or erase the vault of that name again",
                    "a vault that was being made when the making stopped; it protects nothing");
        return OK;
    }
    _cleanup_(vault_freep) struct vault *vault = NULL;
    struct error damage = ERROR_NONE;
    if (name && vault_read_as(filesystem, name, gathering->reading, &vault, &damage))
        why = &damage;
    if (why) {
        const bool is_foreign = !name && is_made_by_a_user(filesystem);
        finding_add(gathering->findings, FINDING_TELLS, is_foreign ? "directory-foreign" : "vault-unreadable",
                    subject, why->remedy, "%s", why->message);
        return OK;
    }
    enum error_code code = append(&gathering->list, vault, reterr);
    if (!code)
        (void)TAKE(vault);
    return code;
}

struct unfinished {
    const char *name; /* NULL for all */
    size_t count;
};

static enum error_code destroy_if_unfinished(const struct filesystem *filesystem, const char *name,
                                             const struct error *why, void *context, struct error *reterr)
{
    struct unfinished *unfinished = context;
    _cleanup_(close_fdp) int lock_fd = -1, husk_fd = -1, vaults_fd = -1;
    (void)why; /* said by whoever looks for the vaults */
    if (!name || !vault_name_is_unfinished(name))
        return OK;
    if (unfinished->name &&
        (strncmp(name, unfinished->name, strlen(name) - 4) || strlen(unfinished->name) != strlen(name) - 4))
        return OK;
    enum error_code code = vault_take_lock(filesystem, VAULT_LOCK_EXISTING, &lock_fd, &husk_fd, reterr);
    if (!code)
        code = vault_open_vaults(filesystem, &vaults_fd, reterr);
    if (!code)
        code = vault_destroy_remains(vaults_fd, name, reterr);
    unfinished->count += !code;
    return code;
}

enum error_code vault_destroy_all_unfinished(const char *at, const char *name, size_t *ret_count,
                                             struct error *reterr)
{
    struct unfinished unfinished = {.name = name};
    enum error_code code = for_each_filesystem(at, destroy_if_unfinished, &unfinished, reterr);
    if (!code)
        *ret_count = unfinished.count;
    return code;
}

static int by_name(const void *left, const void *right)
{
    const struct vault *const *first = left, *const *second = right;
    int order = strcmp((*first)->name, (*second)->name);
    return order ? order : strcmp((*first)->filesystem->mount_point, (*second)->filesystem->mount_point);
}

static enum error_code list_as(const char *at, enum vault_reading reading, struct vault_list *ret_list,
                               struct finding_list *findings, struct error *reterr)
{
    struct gathering gathering = {.findings = findings, .reading = reading};
    enum error_code code = for_each_filesystem(at, gather, &gathering, reterr);
    if (code) {
        vault_list_done(&gathering.list);
        return code;
    }
    if (gathering.list.count > 0)
        qsort(gathering.list.items, gathering.list.count, sizeof(struct vault *), by_name);
    *ret_list = gathering.list;
    return OK;
}

enum error_code vault_list_below(const char *at, struct vault_list *ret_list, struct finding_list *findings,
                                 struct error *reterr)
{
    return list_as(at, VAULT_READ_STRICT, ret_list, findings, reterr);
}

enum error_code vault_list_even_damaged(const char *at, struct vault_list *ret_list,
                                        struct finding_list *findings, struct error *reterr)
{
    return list_as(at, VAULT_READ_EVEN_DAMAGED, ret_list, findings, reterr);
}

void vault_list_done(struct vault_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        vault_free(list->items[i]);
    free(list->items);
    *list = (struct vault_list){0};
}

struct search {
    const char *name;
    struct filesystem *found; /* owned until taken */
    struct error unusable;    /* a filesystem that could not be searched */
};

static enum error_code look_at(const struct filesystem *filesystem, const char *name, const struct error *why,
                               void *context, struct error *reterr)
{
    struct search *search = context;
    if (why && !search->unusable.code)
        search->unusable = *why;
    if (!name || strcmp(name, search->name))
        return OK;
    if (search->found) {
        error_set(reterr, ERR_EXISTS, 0, "there are two vaults %s: on %s and on %s", name,
                  text_shown(search->found->mount_point), text_shown(filesystem->mount_point));
        error_remedy(reterr, "say which host is meant with --at, or unmount one of them");
        return ERR_EXISTS;
    }
    return vault_copy_filesystem(filesystem, &search->found, reterr);
}

enum error_code vault_find_filesystem(const char *at, const char *name, struct filesystem **ret_filesystem,
                                      struct error *reterr)
{
    struct search search = {.name = name};
    enum error_code code = vault_check_name(name, reterr);
    if (!code)
        code = for_each_filesystem(at, look_at, &search, reterr);
    if (!code && !search.found && search.unusable.code) {
        code = search.unusable.code;
        if (reterr)
            *reterr = search.unusable;
    } else if (!code && !search.found) {
        code = error_set(reterr, ERR_NOT_FOUND, 0, "there is no vault %s on the filesystems at and below %s",
                         name, text_shown(at));
        error_subject(reterr, "%s", name);
        error_remedy(reterr, "husk status lists the vaults there are; --at DIR names another host");
    }
    if (code) {
        filesystem_free(search.found);
        return code;
    }
    *ret_filesystem = search.found;
    return OK;
}

enum error_code vault_find(const char *at, const char *name, struct vault **ret_vault, struct error *reterr)
{
    _cleanup_(filesystem_freep) struct filesystem *filesystem = NULL;
    enum error_code code = vault_find_filesystem(at, name, &filesystem, reterr);
    return code ? code : vault_read(filesystem, name, ret_vault, reterr);
}
