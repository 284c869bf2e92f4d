/* The export of a ledger: as it comes, of the epoch it says; and its lines as entries that hang together. */
#include <sys/mman.h>
#include <unistd.h>

#include "authority/exporting.h"
#include "base/file.h"
#include "target.h"

static enum error_code see(void *context, const struct ledger_head *head, const char *bytes, size_t length,
                           struct error *reterr)
{
    struct ledger_head *last = context;
    (void)reterr;
    must_hold(head->sequence == last->sequence + 1 && length > 0 && length <= LEDGER_ENTRY_MAXIMUM);
    must_hold(bytes[length] == '\0');
    *last = *head;
    return OK;
}

static uint64_t epoch_said(const uint8_t *data, size_t size)
{
    static const char member[] = "\"epoch\":";
    const uint8_t *at = memmem(data, size, member, sizeof(member) - 1);
    uint64_t epoch = 0;
    for (at = at ? at + sizeof(member) - 1 : data + size; at < data + size && *at >= '0' && *at <= '9'; at++)
        epoch = epoch * 10 + (*at - '0');
    return epoch;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t signing_key[SIGN_PUBLIC_SIZE] = {9};
    struct export *export = NULL;
    struct ledger_head head = {0}, last = {0};
    const int fd = memfd_create("export", MFD_CLOEXEC);
    must_hold(fd >= 0 && file_write_all(fd, data, size, NULL) == OK && lseek(fd, 0, SEEK_SET) == 0);
    if (export_open(fd, &export, NULL) == OK) {
        const uint64_t epoch = epoch_said(data, size);
        if (export_read(export, epoch, &head, see, &last, NULL) == OK)
            must_hold(head.sequence == last.sequence && !memcmp(head.hash, last.hash, sizeof(head.hash)));
        else
            must_hold(head.sequence == 0);
        (void)!export_check_end(export, signing_key, epoch, &head, NULL);
    }
    export_close(export);
    close(fd);
    return 0;
}
