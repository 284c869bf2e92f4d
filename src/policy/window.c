#include "base/text.h"
#include "policy/policy.h"

enum { MINUTES_PER_DAY = 24 * 60, SECONDS_PER_MINUTE = 60, DAYS = 7, ALL_DAYS = (1 << DAYS) - 1 };

static const char day_names[DAYS][4] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* Reads a day's name at *at and moves on. -1 when there is none. */
static int take_day(const char **at)
{
    for (int day = 0; day < DAYS; day++)
        if (!strncmp(*at, day_names[day], 3)) {
            *at += 3;
            return day;
        }
    return -1;
}

/* "mon-fri", "sat,sun", "mon,wed-fri", up to a blank. A range may go over the end of the week. */
static bool take_days(const char **at, uint8_t *ret_days)
{
    unsigned days = 0;
    do {
        int first = take_day(at), last = first;
        if (first >= 0 && **at == '-') {
            (*at)++;
            last = take_day(at);
        }
        if (first < 0 || last < 0)
            return false;
        for (int day = first; days |= 1U << day, day != last;)
            day = (day + 1) % DAYS;
    } while (*(*at)++ == ',');
    *ret_days = (uint8_t)days;
    return (*at)[-1] == ' ';
}

static bool take_minute(const char **at, unsigned most, uint16_t *ret_minute)
{
    const char *text = *at;
    for (unsigned i = 0; i < 5; i++)
        if (i == 2 ? text[i] != ':' : text[i] < '0' || text[i] > '9')
            return false;
    const unsigned hour = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
    const unsigned minute = (unsigned)(text[3] - '0') * 10 + (unsigned)(text[4] - '0');
    *at += 5;
    *ret_minute = (uint16_t)(hour * 60 + minute);
    return minute < 60 && *ret_minute <= most;
}

enum error_code policy_window_parse(const char *text, struct policy_window *ret_window, struct error *reterr)
{
    struct policy_window window = {.days = ALL_DAYS};
    const char *at = text;
    bool fits = (*at >= '0' && *at <= '9') || take_days(&at, &window.days);
    fits = fits && take_minute(&at, MINUTES_PER_DAY - 1, &window.from_minute);
    fits = fits && *at++ == '-' && take_minute(&at, MINUTES_PER_DAY, &window.to_minute) && !*at;
    if (!fits)
        return error_set(reterr, ERR_USAGE, 0,
                         "\"%s\" is no window: write it like \"mon-fri 08:00-18:00\", in UTC",
                         text_shown(text));
    *ret_window = window;
    return OK;
}

bool policy_window_contains(const struct policy_window *window, int64_t unix_s)
{
    int64_t minutes = unix_s / SECONDS_PER_MINUTE - (unix_s % SECONDS_PER_MINUTE < 0);
    int64_t days = minutes / MINUTES_PER_DAY - (minutes % MINUTES_PER_DAY < 0);
    const unsigned minute = (unsigned)(minutes - days * MINUTES_PER_DAY);
    /* 1970-01-01 was a Thursday. */
    const unsigned day = (unsigned)(((days + 3) % DAYS + DAYS) % DAYS);
    const bool is_day = window->days & (1U << day), was_day = window->days & (1U << (day + DAYS - 1) % DAYS);
    if (window->from_minute < window->to_minute)
        return is_day && minute >= window->from_minute && minute < window->to_minute;
    return (is_day && minute >= window->from_minute) || (was_day && minute < window->to_minute);
}
