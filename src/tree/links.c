#include "tree/links.h"

#include <pthread.h>

#include "base/cleanup.h"

enum { SLOTS = 1 << 21, SLOTS_USED_MOST = 1 << 20 };

struct slot {
    uint32_t inode;   /* ext4 has 32 bits of them, and no inode 0 */
    uint32_t missing; /* links not met yet */
};

struct count {
    pthread_mutex_t mutex;
    struct slot *slots; /* NULL until the first hard link */
    size_t used;
    bool overflow;
    uint32_t shares, share; /* only inodes with inode % shares == share */
    enum error_code (*each)(const struct tree_directory *directory, const char *name,
                            const struct statx *status, void *context, struct error *reterr);
    void *context;
};

/* The slot of an inode, or the free one where it would be. */
static struct slot *find(struct count *count, uint32_t inode)
{
    size_t at = (inode * UINT32_C(2654435761)) % SLOTS;
    while (count->slots[at].inode != 0 && count->slots[at].inode != inode)
        at = (at + 1) % SLOTS;
    return &count->slots[at];
}

static bool concerns(const struct count *count, const struct statx *status)
{
    return status->stx_nlink > 1 && status->stx_ino % count->shares == count->share;
}

static enum error_code on_count(struct tree_directory *directory, const char *name,
                                const struct statx *status, void *context, struct error *reterr)
{
    struct count *count = context;
    enum error_code code = OK;
    (void)directory;
    (void)name;
    if (!concerns(count, status))
        return OK;
    pthread_mutex_lock(&count->mutex);
    if (!count->slots)
        count->slots = calloc(SLOTS, sizeof(*count->slots));
    if (!count->slots) {
        code = error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    } else if (!count->overflow) {
        struct slot *slot = find(count, (uint32_t)status->stx_ino);
        if (slot->inode) {
            slot->missing -= slot->missing > 0;
        } else if (count->used == SLOTS_USED_MOST) {
            count->overflow = true;
        } else {
            *slot = (struct slot){.inode = (uint32_t)status->stx_ino, .missing = status->stx_nlink - 1};
            count->used++;
        }
    }
    pthread_mutex_unlock(&count->mutex);
    return code;
}

static enum error_code on_tell(struct tree_directory *directory, const char *name, const struct statx *status,
                               void *context, struct error *reterr)
{
    struct count *count = context;
    enum error_code code = OK;
    if (!concerns(count, status))
        return OK;
    pthread_mutex_lock(&count->mutex);
    const struct slot *slot = find(count, (uint32_t)status->stx_ino);
    if (!slot->inode || slot->missing > 0)
        code = count->each(directory, name, status, count->context, reterr);
    pthread_mutex_unlock(&count->mutex);
    return code;
}

static bool any_missing(const struct count *count)
{
    for (size_t i = 0; count->slots && i < SLOTS; i++)
        if (count->slots[i].missing > 0)
            return true;
    return false;
}

/* One share of the inodes: count, and walk again to name what is left over. */
static enum error_code run_share(int root_fd, struct count *count, struct error *reterr)
{
    const struct tree_visitor counting = {.entry = on_count, .context = count};
    const struct tree_visitor telling = {.entry = on_tell, .context = count};
    if (count->slots)
        memset(count->slots, 0, SLOTS * sizeof(*count->slots));
    count->used = 0;
    count->overflow = false;
    enum error_code code = tree_walk(root_fd, tree_walk_threads(), &counting, reterr);
    if (code || count->overflow || !any_missing(count))
        return code;
    return tree_walk(root_fd, tree_walk_threads(), &telling, reterr);
}

enum error_code tree_links_outside(int root_fd,
                                   enum error_code (*each)(const struct tree_directory *directory,
                                                           const char *name, const struct statx *status,
                                                           void *context, struct error *reterr),
                                   void *context, struct error *reterr)
{
    struct count count = {.mutex = PTHREAD_MUTEX_INITIALIZER, .each = each, .context = context, .shares = 1};
    enum error_code code = OK;
    while (!code && count.share < count.shares) {
        code = run_share(root_fd, &count, reterr);
        if (count.overflow) { /* nothing of this share was told yet: smaller shares, and this one's first part
                                 next */
            count.shares *= 2;
            continue;
        }
        count.share++;
    }
    free(count.slots);
    pthread_mutex_destroy(&count.mutex);
    return code;
}
