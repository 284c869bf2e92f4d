#include "authority/state.h"

static enum error_code take_keyring(struct clerk *clerk, uint64_t generation, struct error *reterr)
{
    if (!clerk->keyring)
        return keyring_read(&clerk->place, generation, &clerk->keyring, reterr);
    return clerk->keyring->generation == generation
               ? OK
               : error_set(reterr, ERR_CORRUPT, 0, "the database is not that of the keyring");
}

static enum error_code read_previous(struct clerk *clerk, struct face *face, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code = sql_select(clerk->sql, &rows, reterr, "SELECT previous_until FROM moving", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && !is_there)
        code =
            error_set(reterr, ERR_CORRUPT, 0, "the database is not complete: it does not say how keys move");
    if (!code)
        face->previous_until_unix_s = sql_integer(&rows, 0);
    sql_done(&rows);
    return code;
}

static enum error_code take_face(struct clerk *clerk, const void *descriptor, size_t length,
                                 struct error *reterr)
{
    struct face *face = NULL;
    enum error_code code =
        descriptor ? face_new(descriptor, length, NULL, clerk->keyring, clerk->epoch, &face, reterr)
                   : error_set(reterr, ERR_CORRUPT, 0, "the database has no descriptor");
    if (!code)
        code = read_previous(clerk, face, reterr);
    if (code) {
        face_free(face);
        return code;
    }
    clerk->face = face;
    face_place_put(&clerk->face_place, face);
    return OK;
}

enum error_code state_read(struct clerk *clerk, struct error *reterr)
{
    struct sql_rows rows = {0};
    bool is_there = false;
    enum error_code code =
        sql_select(clerk->sql, &rows, reterr, "SELECT epoch, generation, descriptor FROM state", "");
    if (!code)
        code = sql_next(&rows, &is_there, reterr);
    if (!code && !is_there)
        code = error_set(reterr, ERR_CORRUPT, 0, "the database is not complete: run huskd init again");
    if (!code) {
        size_t length;
        const void *bytes = sql_blob(&rows, 2, &length);
        clerk->epoch = (uint64_t)sql_integer(&rows, 0);
        code = take_keyring(clerk, (uint64_t)sql_integer(&rows, 1), reterr);
        if (!code)
            code = take_face(clerk, bytes, length, reterr);
    }
    sql_done(&rows);
    return code;
}
