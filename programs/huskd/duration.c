#include "duration.h"

#include "base/text.h"

#define LONGEST_S INT64_MAX /* what is too long for its use is told by that */

enum error_code duration_parse(const char *text, int64_t *ret_s, struct error *reterr)
{
    static const char units[] = "smhd";
    static const unsigned seconds[] = {1, 60, 3600, 86400};
    char digits[24];
    uint64_t number = 0;
    size_t length = strspn(text, "0123456789");
    const char *unit = text[length] ? strchr(units, text[length]) : NULL;
    bool good = length > 0 && length < sizeof(digits) && unit && !text[length + 1];
    if (good) {
        memcpy(digits, text, length);
        digits[length] = '\0';
        good = text_parse_u64(digits, LONGEST_S / seconds[unit - units], &number, NULL) == OK;
    }
    if (!good)
        return error_set(reterr, ERR_USAGE, 0, "%s is no length of time: write it as 90s, 30m, 1h or 2d",
                         text_shown(text));
    *ret_s = (int64_t)(number * seconds[unit - units]);
    return OK;
}
