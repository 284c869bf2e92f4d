/* host.json: whatever parses can be written, and parses again as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vault/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_again(const struct host_record *record)
{
    struct host_record again = {0};
    struct buffer text = {0};
    struct error error = ERROR_NONE;
    if (host_record_format(record, &text, &error) ||
        host_record_parse(text.data, text.length, &again, &error))
        abort();
    if (again.keyfile_count != record->keyfile_count)
        abort();
    for (size_t i = 0; i < again.keyfile_count; i++)
        if (strcmp(again.keyfiles[i].path, record->keyfiles[i].path) ||
            memcmp(&again.keyfiles[i].vault, &record->keyfiles[i].vault, sizeof(struct vault_id)))
            abort();
    host_record_done(&again);
    buffer_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct host_record record = {0};
    struct error error = ERROR_NONE;
    if (host_record_parse((const char *)data, size, &record, &error) == OK)
        parse_again(&record);
    host_record_done(&record);
    return 0;
}
