#include "filesystem/busy_set.h"

#include "base/cleanup.h"

/* So that memory stays bounded (about 80 bytes each). Uses of one inode beyond a few tell nothing new. */
#define USES_MAXIMUM ((size_t)1 << 17)
#define USES_PER_INODE 8
#define BLOCK_SIZE ((size_t)64 << 10)

/* Strings live as long as the set, in blocks. */
struct text_block {
    struct text_block *next;
    size_t used;
    char bytes[];
};

struct busy_set {
    dev_t device;
    struct busy_use *items;
    size_t count, capacity;
    struct text_block *texts; /* the newest first */
    const char *last_what;    /* what one process does comes in runs that share the text */
};

const char busy_process_remedy[] = "stop the program, or have it close its files, then run the same command "
                                   "again";

dev_t busy_set_device(const struct busy_set *set)
{
    return set->device;
}

static const char *keep_text(struct busy_set *set, const char *text)
{
    size_t size = strlen(text) + 1;
    if (!set->texts || set->texts->used + size > BLOCK_SIZE) {
        struct text_block *block = malloc(sizeof(*block) + (size > BLOCK_SIZE ? size : BLOCK_SIZE));
        if (!block)
            return NULL;
        *block = (struct text_block){.next = set->texts};
        set->texts = block;
    }
    char *copy = set->texts->bytes + set->texts->used;
    memcpy(copy, text, size);
    set->texts->used += size;
    return copy;
}

static int compare_uses(const void *left, const void *right)
{
    const struct busy_use *a = left, *b = right;
    if (a->inode != b->inode)
        return a->inode < b->inode ? -1 : 1;
    if (a->pid != b->pid)
        return a->pid < b->pid ? -1 : 1;
    return strcmp(a->what, b->what);
}

/* Sort, and keep one of equal uses (a file open twice by one process is one use) and a few of each inode. */
static void sort_uses(struct busy_set *set)
{
    if (set->count == 0)
        return;
    qsort(set->items, set->count, sizeof(*set->items), compare_uses);
    size_t kept = 1, of_inode = 1;
    for (size_t i = 1; i < set->count; i++) {
        const struct busy_use *last = &set->items[kept - 1], *use = &set->items[i];
        of_inode = use->inode == last->inode ? of_inode : 0;
        if (of_inode == USES_PER_INODE || !compare_uses(last, use))
            continue;
        set->items[kept++] = *use;
        of_inode++;
    }
    set->count = kept;
}

static void free_texts(struct text_block *texts)
{
    while (texts) {
        struct text_block *block = texts;
        texts = block->next;
        free(block);
    }
}

/* The texts that the use in hand points to. False without memory. */
static bool keep_texts(struct busy_set *set, struct busy_use *use)
{
    if (!set->last_what || strcmp(set->last_what, use->what))
        set->last_what = keep_text(set, use->what);
    use->what = set->last_what;
    if (use->what && use->path && !(use->path = keep_text(set, use->path)))
        return false;
    return use->what;
}

/* When the array is full: drop what tells nothing new, and the texts of what was dropped. */
static enum error_code compact(struct busy_set *set, struct error *reterr)
{
    sort_uses(set);
    if (set->count > USES_MAXIMUM / 2) {
        error_set(reterr, ERR_BUSY, 0, "more than %zu files of this filesystem are in use", USES_MAXIMUM / 2);
        error_remedy(reterr, "stop the programs that have files of this filesystem open");
        return ERR_BUSY;
    }
    struct text_block *old = TAKE(set->texts);
    bool kept = true;
    set->last_what = NULL;
    for (size_t i = 0; i < set->count && kept; i++)
        kept = keep_texts(set, &set->items[i]);
    free_texts(old);
    return kept ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the files in use");
}

static enum error_code make_room(struct busy_set *set, struct error *reterr)
{
    if (set->count < set->capacity)
        return OK;
    if (set->capacity == USES_MAXIMUM)
        return compact(set, reterr);
    size_t capacity = set->capacity ? set->capacity * 2 : 64;
    struct busy_use *items = reallocarray(set->items, capacity, sizeof(*items));
    if (!items)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the files in use");
    set->items = items;
    set->capacity = capacity;
    return OK;
}

enum error_code busy_set_add(struct busy_set *set, const struct busy_use *use, struct error *reterr)
{
    enum error_code code = make_room(set, reterr);
    if (code)
        return code;
    struct busy_use kept = *use;
    if (!keep_texts(set, &kept))
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the files in use");
    set->items[set->count++] = kept;
    return OK;
}

enum error_code busy_set_new(dev_t device, struct busy_set **ret_set, struct error *reterr)
{
    struct busy_set *set = calloc(1, sizeof(*set));
    if (!set)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the files in use");
    set->device = device;
    struct bound_sockets sockets = {0};
    enum error_code code = busy_sockets_read(device, &sockets, reterr);
    if (!code)
        code = busy_add_processes(set, &sockets, reterr);
    if (!code)
        code = busy_sockets_add_unowned(set, &sockets, reterr);
    if (!code)
        code = busy_add_loops(set, reterr);
    if (!code)
        code = busy_add_swaps(set, reterr);
    if (!code)
        code = busy_add_overlays(set, reterr);
    busy_sockets_done(&sockets);
    if (code) {
        busy_set_free(set);
        return code;
    }
    sort_uses(set);
    *ret_set = set;
    return OK;
}

const struct busy_use *busy_set_find(const struct busy_set *set, uint64_t inode, size_t *ret_count)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle].inode < inode)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < set->count && set->items[end].inode == inode)
        end++;
    *ret_count = end - low;
    return end > low ? &set->items[low] : NULL;
}

const struct busy_use *busy_set_all(const struct busy_set *set, size_t *ret_count)
{
    *ret_count = set->count;
    return set->items;
}

void busy_set_free(struct busy_set *set)
{
    if (!set)
        return;
    free_texts(set->texts);
    free(set->items);
    free(set);
}
