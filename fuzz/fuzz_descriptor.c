/* Descriptors: their text is read before the signature when the root is not known yet, and what is read can
 * be written. */
#include "message/descriptor.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct descriptor descriptor;
    struct buffer text = {0};
    if (descriptor_parse(data, size, NULL, &descriptor, NULL) == OK)
        must_hold(descriptor_format(&descriptor, &text, NULL) == OK);
    buffer_done(&text);
    return 0;
}
