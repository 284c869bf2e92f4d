#include "authority/operations.h"
#include "authority/rotation.h"
#include "base/text.h"

enum error_code operation_descriptor_prepare(struct clerk *clerk, struct job *job, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {.maximum = DESCRIPTOR_MAXIMUM};
    const bool keeps = json_is_true(json_object_get(job->arguments, "same-keys"));
    const json_t *addresses = json_object_get(job->arguments, "address");
    /* The descriptor here is that of the backup: its addresses are where this authority was. */
    if (clerk->face->is_awaiting_root && json_array_size(addresses) == 0) {
        error_set(reterr, ERR_USAGE, 0,
                  "this authority was restored, and where hosts will reach it is in no descriptor yet");
        return error_remedy(reterr, "sign and install the file that the restore wrote (--out), or say where "
                                    "with --address");
    }
    enum error_code code = rotation_prepare(clerk, keeps ? ROTATION_SAME_KEYS : ROTATION_NEW_KEYS, addresses,
                                            &text, &job->changed, reterr);
    if (code)
        return code;
    job->result = json_pack("{s:s}", "text", text.data);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}

enum error_code operation_descriptor_install(struct clerk *clerk, struct job *job, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = DESCRIPTOR_MAXIMUM};
    char actor[OPERATION_ACTOR_SIZE];
    const char *hex = NULL;
    int64_t keep_s = ROTATION_PREVIOUS_S;
    enum error_code code = argument_text(job, "descriptor", &hex, reterr);
    if (!code)
        code = argument_seconds(job, "keep", 0, ROTATION_PREVIOUS_MOST_S, &keep_s, reterr);
    if (!code && text_append_bytes(&wire, hex, NULL) != OK)
        code = error_set(reterr, ERR_USAGE, 0, "a descriptor that is no hexadecimal");
    if (code)
        return code;
    operation_actor(job, actor);
    code = rotation_install(clerk, wire.data ? wire.data : "", wire.length, keep_s, actor, &job->changed,
                            reterr);
    if (code)
        return code;
    const struct descriptor *now = &(clerk->next_face ? clerk->next_face : clerk->face)->descriptor;
    job->result =
        json_pack("{s:I, s:I}", "sequence", (json_int_t)now->sequence, "epoch", (json_int_t)now->epoch);
    return job->result ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
}
