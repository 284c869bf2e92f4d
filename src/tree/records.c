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

enum error_code tree_records_get(struct tree_records *records, const struct statx *status,
                                 struct tree_record *ret_record, struct error *reterr)
{
    struct tree_record record = {0};
    ssize_t got = pread(records->fd, &record, sizeof(record), offset_of(status));
    if (got < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the conversion's records");
    if (got != sizeof(record) || record.magic != RECORD_MAGIC || record.born_ns != tree_ns(status->stx_btime))
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

enum error_code tree_records_put(struct tree_records *records, const struct statx *status,
                                 struct tree_record *record, struct error *reterr)
{
    record->magic = RECORD_MAGIC;
    record->size = status->stx_size;
    record->changed_ns = tree_ns(status->stx_ctime);
    record->born_ns = tree_ns(status->stx_btime);
    return write_record(records, status, record, reterr);
}

enum error_code tree_records_flag(struct tree_records *records, const struct statx *status, uint32_t set,
                                  uint32_t clear, struct error *reterr)
{
    struct tree_record record;
    enum error_code code = tree_records_get(records, status, &record, reterr);
    uint32_t flags = (record.flags & ~clear) | set;
    if (code || record.magic != RECORD_MAGIC || flags == record.flags)
        return code;
    record.flags = flags;
    return write_record(records, status, &record, reterr);
}

bool tree_record_unchanged(const struct tree_record *record, const struct statx *status)
{
    return record->magic == RECORD_MAGIC && record->changed_ns == tree_ns(status->stx_ctime) &&
           record->size == status->stx_size;
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
