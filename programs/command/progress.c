#include "progress.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "amount.h"
#include "base/clock.h"
#include "base/file.h"

#define REDRAW_NS (CLOCK_NS_PER_S / 8)
#define TELL_NS (10 * CLOCK_NS_PER_S)
#define CLEAR_LINE "\r\033[K"

/* Progress that cannot be written is no reason to stop. */
static void put(const char *text)
{
    enum error_code ignored = file_write_all(STDERR_FILENO, text, strlen(text), NULL);
    (void)ignored;
}

static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

void progress_begin(struct progress *progress)
{
    const char *terminal = getenv("TERM");
    bool can_redraw = isatty(STDERR_FILENO) && terminal && *terminal && strcmp(terminal, "dumb");
    *progress = (struct progress){.style = can_redraw ? PROGRESS_BAR : PROGRESS_PLAIN};
    pthread_mutex_init(&progress->mutex, NULL);
}

static struct progress_view view_of(struct progress *progress)
{
    return (struct progress_view){
        .name = progress->name,
        .files_done = atomic_load(&progress->files_done),
        .files_total = progress->files_total,
        .bytes_done = atomic_load(&progress->bytes_done),
        .bytes_total = progress->bytes_total,
        .elapsed_ns = clock_monotonic_ns() - progress->begun_ns,
    };
}

/* With the mutex held, as all below. */
static void clear_bar(struct progress *progress)
{
    if (progress->bar_is_shown)
        put(CLEAR_LINE);
    progress->bar_is_shown = false;
}

static void draw(struct progress *progress)
{
    struct progress_view view = view_of(progress);
    char line[PROGRESS_LINE_SIZE], whole[PROGRESS_LINE_SIZE + 8];
    if (progress->style == PROGRESS_BAR) {
        /* One column less: a full line would wrap on some terminals. */
        progress_format_bar(line, &view, terminal_columns() - 1);
        snprintf(whole, sizeof(whole), CLEAR_LINE "%s", line);
        progress->bar_is_shown = true;
    } else {
        progress_format_plain(line, &view);
        snprintf(whole, sizeof(whole), "%s\n", line);
    }
    put(whole);
}

static void finish_stage(struct progress *progress)
{
    if (!progress->running)
        return;
    progress->running = false;
    clear_bar(progress);
    if (progress->style == PROGRESS_BAR) {
        struct progress_view view = view_of(progress);
        view.files_total = view.files_total ? view.files_total : view.files_done;
        view.bytes_total = view.bytes_total ? view.bytes_total : view.bytes_done;
        char line[PROGRESS_LINE_SIZE], whole[PROGRESS_LINE_SIZE + 64];
        progress_format_begin(line, &view);
        snprintf(whole, sizeof(whole), "%s: %s\n", line,
                 amount_seconds_shown((uint64_t)(view.elapsed_ns / CLOCK_NS_PER_S)));
        put(whole);
    }
}

void progress_stage(struct progress *progress, const char *name, uint64_t total_files, uint64_t total_bytes)
{
    pthread_mutex_lock(&progress->mutex);
    finish_stage(progress);
    snprintf(progress->name, sizeof(progress->name), "%s", name);
    progress->running = true;
    progress->begun_ns = clock_monotonic_ns();
    progress->files_total = total_files;
    progress->bytes_total = total_bytes;
    atomic_store(&progress->files_done, 0);
    atomic_store(&progress->bytes_done, 0);
    bool bar = progress->style == PROGRESS_BAR;
    atomic_store(&progress->next_ns, progress->begun_ns + (bar ? REDRAW_NS : TELL_NS));
    if (bar) {
        draw(progress);
    } else {
        struct progress_view view = view_of(progress);
        char line[PROGRESS_LINE_SIZE], whole[PROGRESS_LINE_SIZE + 8];
        progress_format_begin(line, &view);
        snprintf(whole, sizeof(whole), "%s\n", line);
        put(whole);
    }
    pthread_mutex_unlock(&progress->mutex);
}

void progress_advance(struct progress *progress, uint64_t files, uint64_t bytes)
{
    atomic_fetch_add(&progress->files_done, files);
    atomic_fetch_add(&progress->bytes_done, bytes);
    int64_t now_ns = clock_monotonic_ns(), next_ns = atomic_load(&progress->next_ns);
    int64_t step_ns = progress->style == PROGRESS_BAR ? REDRAW_NS : TELL_NS;
    /* One thread of those that come at the same time draws. */
    if (now_ns < next_ns || !atomic_compare_exchange_strong(&progress->next_ns, &next_ns, now_ns + step_ns))
        return;
    pthread_mutex_lock(&progress->mutex);
    if (progress->running)
        draw(progress);
    pthread_mutex_unlock(&progress->mutex);
}

void progress_message(struct progress *progress, const char *line)
{
    pthread_mutex_lock(&progress->mutex);
    clear_bar(progress);
    put(line);
    put("\n");
    pthread_mutex_unlock(&progress->mutex);
}

void progress_end(struct progress *progress)
{
    pthread_mutex_lock(&progress->mutex);
    finish_stage(progress);
    pthread_mutex_unlock(&progress->mutex);
}
