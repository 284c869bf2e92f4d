#include <stdarg.h>

#include "amount.h"
#include "base/clock.h"
#include "progress.h"

/* A small file costs about what this many bytes do; only the bar and the time left depend on it. */
#define BYTES_PER_FILE UINT64_C(16384)

static double weight(uint64_t files, uint64_t bytes)
{
    return (double)files * (double)BYTES_PER_FILE + (double)bytes;
}

int progress_permille(const struct progress_view *view)
{
    double total = weight(view->files_total, view->bytes_total);
    if (total <= 0)
        return -1;
    uint64_t files = view->files_total ? view->files_done : 0;
    uint64_t bytes = view->bytes_total ? view->bytes_done : 0;
    double permille = weight(files, bytes) * 1000 / total;
    return permille > 1000 ? 1000 : (int)permille;
}

int64_t progress_seconds_left(const struct progress_view *view)
{
    int permille = progress_permille(view);
    /* Not in the first seconds nor the first percent. */
    if (permille < 10 || view->elapsed_ns < 2 * CLOCK_NS_PER_S)
        return -1;
    double elapsed_s = (double)view->elapsed_ns / (double)CLOCK_NS_PER_S;
    return (int64_t)(elapsed_s * (1000 - permille) / permille + 0.5);
}

static uint64_t bytes_per_s(const struct progress_view *view)
{
    if (view->elapsed_ns < CLOCK_NS_PER_S / 2)
        return 0;
    return (uint64_t)((double)view->bytes_done * (double)CLOCK_NS_PER_S / (double)view->elapsed_ns);
}

/* Text that grows in a fixed array and never overflows it. */
struct line {
    char *out;
    size_t used;
};

static void add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct line *line, const char *format, ...)
{
    va_list parts;
    va_start(parts, format);
    int length = vsnprintf(line->out + line->used, PROGRESS_LINE_SIZE - line->used, format, parts);
    va_end(parts);
    line->used += length < 0 ? 0 : (size_t)length;
    if (line->used >= PROGRESS_LINE_SIZE)
        line->used = PROGRESS_LINE_SIZE - 1;
}

void progress_format_begin(char out[PROGRESS_LINE_SIZE], const struct progress_view *view)
{
    struct line line = {out, 0};
    add(&line, "%s", view->name);
    if (view->files_total)
        add(&line, ": %s %s", amount_count_shown(view->files_total),
            view->files_total == 1 ? "file" : "files");
    if (view->bytes_total)
        add(&line, "%s%s", view->files_total ? ", " : ": ", amount_bytes_shown(view->bytes_total));
}

/* More than was counted before, as of free space, is then all there is. */
static uint64_t all_of(uint64_t done, uint64_t total)
{
    return done > total ? done : total;
}

/* Everything behind the bar. */
static void add_numbers(struct line *line, const struct progress_view *view)
{
    int permille = progress_permille(view);
    if (permille >= 0)
        add(line, "%d %%, ", permille / 10);
    if (view->bytes_total)
        add(line, "%s of %s", amount_bytes_shown(view->bytes_done),
            amount_bytes_shown(all_of(view->bytes_done, view->bytes_total)));
    else if (view->files_total)
        add(line, "%s of %s files", amount_count_shown(view->files_done),
            amount_count_shown(all_of(view->files_done, view->files_total)));
    else
        add(line, "%s %s", amount_count_shown(view->files_done), view->files_done == 1 ? "file" : "files");
    if (!view->files_total && !view->bytes_total && view->bytes_done)
        add(line, ", %s", amount_bytes_shown(view->bytes_done));
    uint64_t rate = bytes_per_s(view);
    if (rate)
        add(line, ", %s/s", amount_bytes_shown(rate));
    int64_t left = progress_seconds_left(view);
    if (left > 0)
        add(line, ", %s left", amount_seconds_shown((uint64_t)left));
}

void progress_format_plain(char out[PROGRESS_LINE_SIZE], const struct progress_view *view)
{
    struct line line = {out, 0};
    add(&line, "%s: ", view->name);
    add_numbers(&line, view);
}

/* The longest part of text of at most most bytes that ends between two UTF-8 sequences. Bytes stand for
 * columns: there are never more columns than bytes. */
static size_t fitting(const char *text, size_t most)
{
    size_t length = strlen(text);
    if (length <= most)
        return length;
    length = most;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return length;
}

void progress_format_bar(char out[PROGRESS_LINE_SIZE], const struct progress_view *view, size_t columns)
{
    enum { BAR_MOST = 30, BAR_LEAST = 10, NAME_LEAST = 12 };
    if (columns >= PROGRESS_LINE_SIZE)
        columns = PROGRESS_LINE_SIZE - 1;
    char tail[PROGRESS_LINE_SIZE];
    struct line numbers = {tail, 0};
    add_numbers(&numbers, view);

    size_t name = strlen(view->name), spare = columns > numbers.used + 1 ? columns - numbers.used - 1 : 0;
    size_t bar = 0;
    if (progress_permille(view) >= 0 && spare >= NAME_LEAST + BAR_LEAST + 3) {
        bar = spare > name + 3 + BAR_LEAST ? spare - name - 3 : BAR_LEAST;
        bar = bar > BAR_MOST ? BAR_MOST : bar;
        spare -= bar + 3;
    }
    struct line line = {out, 0};
    add(&line, "%.*s", (int)fitting(view->name, spare), view->name);
    if (bar) {
        size_t full = bar * (size_t)progress_permille(view) / 1000;
        add(&line, " [");
        for (size_t i = 0; i < bar; i++)
            add(&line, "%c", i < full ? '=' : i == full ? '>' : ' ');
        add(&line, "]");
    }
    add(&line, " %s", tail);
    out[fitting(out, columns)] = '\0';
}
