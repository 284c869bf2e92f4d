/*
 * key_tool KEYSLOT-FILE KEYFILE: what a keyslot hides, as lines "NAME HEX", for tests that look for it in raw
 * images. It prints secrets: nothing but a test may be built from it.
 */
#include <fcntl.h>
#include <stdio.h>

#include "base/file.h"
#include "base/text.h"
#include "keyslot/keyslot.h"
#include "vault/store.h"
#include "vault/vault.h"

static void print(const char *name, const struct secret *secret)
{
    char hex[2 * FSCRYPT_MASTER_KEY_SIZE + 1];
    text_format_hex(hex, secret->bytes, secret->length);
    printf("%s %s\n", name, hex);
}

static enum error_code tell(const char *slot_path, const char *key_path, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer file = {0};
    _cleanup_(secret_freep) struct secret *answer = NULL, *vault_secret = NULL, *master_key = NULL,
                                          *mac_key = NULL;
    struct keyslot keyslot;
    _cleanup_(close_fdp) int key_fd = open(key_path, O_RDONLY | O_CLOEXEC);
    enum error_code code = file_read(AT_FDCWD, slot_path, KEYSLOT_FILE_SIZE, &file, reterr);
    if (!code)
        code = keyslot_parse((const uint8_t *)file.data, file.length, &keyslot, reterr);
    if (!code)
        code = secret_read_fd(key_fd, KEYFILE_LEAST, KEYFILE_MOST, key_path, &answer, reterr);
    if (!code)
        code = keyslot_finish(&keyslot, answer, &vault_secret, reterr);
    if (!code)
        code = vault_derive_master_key(vault_secret, &master_key, reterr);
    if (!code)
        code = vault_derive_mac_key(vault_secret, &mac_key, reterr);
    if (code)
        return code;
    print("vault-secret", vault_secret);
    print("fscrypt-master-key", master_key);
    print("manifest-key", mac_key);
    return OK;
}

int main(int argc, char **argv)
{
    struct error error = ERROR_NONE;
    if (argc != 3 || secret_start(&error) || tell(argv[1], argv[2], &error)) {
        fprintf(stderr, "key_tool: %s\n", argc == 3 ? error.message : "KEYSLOT-FILE KEYFILE");
        return 1;
    }
    return 0;
}
