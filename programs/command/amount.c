#include "amount.h"

#include "base/cleanup.h"

const char *amount_bytes(char out[AMOUNT_SIZE], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t tenths = bytes; /* of the unit, from KiB on */
    while (unit + 1 < ARRAY_SIZE(units) && (unit == 0 ? tenths >= 1024 : tenths >= 10240)) {
        tenths = unit == 0 ? tenths / 1024 * 10 + tenths % 1024 * 10 / 1024 : tenths / 1024;
        unit++;
    }
    unsigned long long whole = unit ? tenths / 10 : tenths;
    if (unit && whole < 100)
        snprintf(out, AMOUNT_SIZE, "%llu.%llu %s", whole, (unsigned long long)(tenths % 10), units[unit]);
    else
        snprintf(out, AMOUNT_SIZE, "%llu %s", whole, units[unit]);
    return out;
}

const char *amount_count(char out[AMOUNT_SIZE], uint64_t count)
{
    char digits[AMOUNT_SIZE];
    int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

const char *amount_seconds(char out[AMOUNT_SIZE], uint64_t seconds)
{
    unsigned long long hours = seconds / 3600;
    unsigned minutes = (unsigned)(seconds / 60 % 60), rest = (unsigned)(seconds % 60);
    if (hours)
        snprintf(out, AMOUNT_SIZE, "%llu:%02u:%02u", hours, minutes, rest);
    else if (minutes)
        snprintf(out, AMOUNT_SIZE, "%u:%02u", minutes, rest);
    else
        snprintf(out, AMOUNT_SIZE, "%u s", rest);
    return out;
}
