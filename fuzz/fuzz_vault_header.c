/* vault.json: whatever parses can be written, and parses again as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vault/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_again(const struct vault *vault)
{
    struct vault again = {.fd = -1};
    struct buffer body = {.maximum = VAULT_FILE_MAXIMUM}, file = {.maximum = VAULT_FILE_MAXIMUM * 2};
    struct buffer second = {.maximum = VAULT_FILE_MAXIMUM};
    struct error error = ERROR_NONE;
    if (vault_body_format(vault, &body, &error) || vault_file_format(&body, vault->mac, &file, &error))
        abort();
    if (vault_header_parse(file.data, file.length, vault->name, &again, &error))
        abort();
    if (vault_body_format(&again, &second, &error) || second.length != body.length ||
        memcmp(second.data, body.data, body.length))
        abort();
    vault_header_done(&again);
    buffer_done(&second);
    buffer_done(&file);
    buffer_done(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vault vault = {.fd = -1};
    struct error error = ERROR_NONE;
    if (vault_header_parse((const char *)data, size, "data", &vault, &error) == OK)
        parse_again(&vault);
    vault_header_done(&vault);
    return 0;
}
