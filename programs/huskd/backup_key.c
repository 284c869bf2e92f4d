#include "backup_key.h"

#include <errno.h>
#include <fcntl.h>

#include "base/file.h"
#include "base/text.h"

enum error_code backup_key_make(const char *name, uint8_t ret_public[HPKE_KEY_SIZE],
                                struct out_file *ret_file, struct error *reterr)
{
    _cleanup_(out_file_drop) struct out_file file = OUT_FILE_NONE;
    _cleanup_(secret_freep) struct secret *key = NULL;
    enum error_code code = out_file_make(name, &file, reterr);
    if (!code)
        code = hpke_key_new(&key, ret_public, reterr);
    if (!code)
        code = file_write_all(file.fd, key->bytes, key->length, reterr);
    if (code)
        return code;
    *ret_file = file;
    file = OUT_FILE_NONE;
    return OK;
}

enum error_code backup_key_read(const char *name, struct secret **ret_key, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", text_shown(name));
    return secret_read_fd(fd, HPKE_KEY_SIZE, HPKE_KEY_SIZE, name, ret_key, reterr);
}
