#include "tree/records.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"

#define RECORD_MAGIC UINT32_C(0x6b737568)

enum error_code tree_records_open(int directory_fd, const char *name, struct tree_records **ret_records,
                                  struct error *reterr)
{
    _cleanup_(close_fdp) int fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the conversion's records");
    struct tree_records *records = calloc(1, sizeof(*records));
    if (!records)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (getrandom(&records->run, sizeof(records->run), 0) != sizeof(records->run)) {
        free(records);
        return error_set(reterr, ERR_FAILED, errno, "cannot draw a random number");
    }
    for (unsigned i = 0; i < ARRAY_SIZE(records->stripes); i++)
        pthread_mutex_init(&records->stripes[i], NULL);
    records->fd = TAKE_FD(fd);
    *ret_records = records;
    return OK;
}

void tree_records_free(struct tree_records *records)
{
    if (!records)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(records->stripes); i++)
        pthread_mutex_destroy(&records->stripes[i]);
    close_fdp(&records->fd);
    free(records);
}

static off_t offset_of(const struct statx *status)
{
    return (off_t)(status->stx_ino * sizeof(struct tree_record));
}

/* A record without a birth time or what stands for it, as an earlier husk wrote them, is believed as long as
 * nothing has changed; of a directory always: it changes with its names, and goes only when it is empty. */
static bool is_same_inode(const struct tree_record *record, const struct statx *status)
{
    if (record->born_ns)
        return record->born_ns == tree_ns(status->stx_btime);
    return S_ISDIR(status->stx_mode) || tree_record_unchanged(record, status);
}

enum error_code tree_records_get(struct tree_records *records, const struct statx *status,
                                 struct tree_record *ret_record, struct error *reterr)
{
    struct tree_record record = {0};
    ssize_t got = pread(records->fd, &record, sizeof(record), offset_of(status));
    if (got < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the conversion's records");
    if (got != sizeof(record) || record.magic != RECORD_MAGIC || !is_same_inode(&record, status))
        record = (struct tree_record){0};
    *ret_record = record;
    return OK;
}

static enum error_code write_record(struct tree_records *records, const struct statx *status,
                                    const struct tree_record *record, struct error *reterr)
{
    int injected = fault("tree.record");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot write the conversion's records");
    enum error_code code =
        file_pwrite_all(records->fd, record, sizeof(*record), (uint64_t)offset_of(status), reterr);
    if (code)
        error_prefix(reterr, "the conversion's records");
    return code;
}

static bool is_sealed(const struct statx *status)
{
    return (status->stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0;
}

enum error_code tree_records_put(struct tree_records *records, const struct statx *status,
                                 struct tree_record *record, struct error *reterr)
{
    record->magic = RECORD_MAGIC;
    record->size = status->stx_size;
    record->changed_ns = tree_ns(status->stx_ctime);
    record->born_ns = tree_ns(status->stx_btime);
    record->modified_ns = tree_ns(status->stx_mtime);
    record->flags &= ~(uint32_t)TREE_RECORD_SEALED;
    if (is_sealed(status))
        record->flags |= TREE_RECORD_SEALED;
    if (!S_ISDIR(status->stx_mode))
        record->names = status->stx_nlink;
    return write_record(records, status, record, reterr);
}

enum error_code tree_records_flag(struct tree_records *records, const struct statx *status, uint32_t set,
                                  uint32_t clear, struct error *reterr)
{
    struct tree_record record;
    enum error_code code = tree_records_get(records, status, &record, reterr);
    uint32_t flags = (record.flags & ~clear) | set;
    const int64_t born_ns = tree_ns(status->stx_btime);
    if (code || record.magic != RECORD_MAGIC || (flags == record.flags && born_ns == record.born_ns))
        return code;
    record.flags = flags;
    record.born_ns = born_ns; /* it may not have had one: is_same_inode */
    return write_record(records, status, &record, reterr);
}

bool tree_record_unchanged(const struct tree_record *record, const struct statx *status)
{
    return record->magic == RECORD_MAGIC && record->changed_ns == tree_ns(status->stx_ctime) &&
           record->size == status->stx_size;
}

bool tree_record_unwritten(const struct tree_record *record, const struct statx *status)
{
    if (tree_record_unchanged(record, status))
        return true;
    const bool fewer_names = !S_ISDIR(status->stx_mode) && status->stx_nlink < record->names;
    const bool unsealed = (record->flags & TREE_RECORD_SEALED) &&
                          (!is_sealed(status) || (record->flags & TREE_RECORD_UNSEALED));
    return record->magic == RECORD_MAGIC && (fewer_names || unsealed) && record->size == status->stx_size &&
           record->modified_ns == tree_ns(status->stx_mtime);
}

static uint64_t count_missed(const struct tree_record *items, size_t count)
{
    uint64_t missed = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t wanted = TREE_RECORD_PROVEN | TREE_RECORD_FILE;
        missed +=
            items[i].magic == RECORD_MAGIC && (items[i].flags & (wanted | TREE_RECORD_SCRUBBED)) == wanted;
    }
    return missed;
}

enum error_code tree_records_count_missed(const struct tree_records *records, uint64_t *ret_count,
                                          struct error *reterr)
{
    enum { AT_ONCE = 256 };
    struct tree_record items[AT_ONCE];
    uint64_t missed = 0;
    off_t at = 0;
    for (;;) {
        at = lseek(records->fd, at, SEEK_DATA);
        if (at < 0 && errno == ENXIO)
            break;
        at -= at < 0 ? 0 : at % (off_t)sizeof(items[0]);
        ssize_t got = at < 0 ? -1 : pread(records->fd, items, sizeof(items), at);
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot read the conversion's records");
        if ((size_t)got < sizeof(items[0]))
            break;
        missed += count_missed(items, (size_t)got / sizeof(items[0]));
        at += got - got % (ssize_t)sizeof(items[0]);
    }
    *ret_count = missed;
    return OK;
}

static pthread_mutex_t *stripe(struct tree_records *records, uint64_t inode)
{
    return &records->stripes[inode % ARRAY_SIZE(records->stripes)];
}

void tree_records_lock(struct tree_records *records, uint64_t inode)
{
    pthread_mutex_lock(stripe(records, inode));
}

void tree_records_unlock(struct tree_records *records, uint64_t inode)
{
    pthread_mutex_unlock(stripe(records, inode));
}

enum error_code tree_records_sync(struct tree_records *records, struct error *reterr)
{
    return file_sync(records->fd, "the conversion's records", reterr);
}
