#include "convert/progress.h"

#include <fcntl.h>

#include "base/file.h"
#include "json/json.h"

enum { WRITE_EVERY_NS = 1000000000, SIZE_MAXIMUM = 1 << 20 };

/* Renamed into place but not synced: it is for a reader of this very moment, and nothing depends on it. */
static void write_file(struct convert_progress *progress)
{
    _cleanup_(json_freep) json_t *object = json_object();
    _cleanup_(buffer_done) struct buffer text = {0};
    pthread_mutex_lock(&progress->mutex);
    const char *directory = progress->directory ? progress->directory : "";
    enum error_code code =
        object ? json_set_bytes(object, "directory", directory, strlen(directory), NULL) : ERR_NO_MEMORY;
    const struct {
        const char *member;
        uint64_t value;
    } numbers[] = {{"files_done", atomic_load(&progress->files_done)},
                   {"files_total", progress->files_total},
                   {"bytes_done", atomic_load(&progress->bytes_done)},
                   {"bytes_total", progress->bytes_total}};
    for (size_t i = 0; !code && i < ARRAY_SIZE(numbers); i++)
        code = json_set_new(object, numbers[i].member, json_integer((json_int_t)numbers[i].value), NULL);
    if (!code)
        code = json_format(object, &text, NULL);
    if (!code) {
        _cleanup_(close_fdp) int fd = openat(progress->work_fd, "." PROGRESS_FILE ".new",
                                             O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && write(fd, text.data, text.length) == (ssize_t)text.length)
            renameat(progress->work_fd, "." PROGRESS_FILE ".new", progress->work_fd, PROGRESS_FILE);
    }
    pthread_mutex_unlock(&progress->mutex);
}

static void on_stage(void *context, const char *name, uint64_t files, uint64_t bytes)
{
    struct convert_progress *progress = context;
    pthread_mutex_lock(&progress->mutex);
    progress->files_total = files;
    progress->bytes_total = bytes;
    atomic_store(&progress->files_done, 0);
    atomic_store(&progress->bytes_done, 0);
    pthread_mutex_unlock(&progress->mutex);
    report_stage(progress->outer, files, bytes, "%s", name);
    write_file(progress);
}

static void on_advance(void *context, uint64_t files, uint64_t bytes)
{
    struct convert_progress *progress = context;
    atomic_fetch_add(&progress->files_done, files);
    atomic_fetch_add(&progress->bytes_done, bytes);
    report_advance(progress->outer, files, bytes);
    long long now = clock_monotonic_ns(), next = atomic_load(&progress->next_write_ns);
    if (now >= next && atomic_compare_exchange_strong(&progress->next_write_ns, &next, now + WRITE_EVERY_NS))
        write_file(progress);
}

static void on_truth(void *context, const char *line)
{
    report_truth(((struct convert_progress *)context)->outer, "%s", line);
}

static void on_warning(void *context, const char *line)
{
    report_warning(((struct convert_progress *)context)->outer, "%s", line);
}

void progress_init(struct convert_progress *progress, const struct report *outer, int work_fd)
{
    *progress = (struct convert_progress){.outer = outer,
                                          .report = {.stage = on_stage,
                                                     .advance = on_advance,
                                                     .truth = on_truth,
                                                     .warning = on_warning,
                                                     .context = progress},
                                          .work_fd = work_fd};
    pthread_mutex_init(&progress->mutex, NULL);
}

void progress_done(struct convert_progress *progress)
{
    if (!progress->report.context)
        return;
    pthread_mutex_destroy(&progress->mutex);
    free(progress->directory);
    *progress = (struct convert_progress){0};
}

void progress_directory(struct convert_progress *progress, const char *path)
{
    pthread_mutex_lock(&progress->mutex);
    free(progress->directory);
    progress->directory = strdup(path);
    pthread_mutex_unlock(&progress->mutex);
}

static uint64_t get_number(json_t *object, const char *member)
{
    int64_t value = 0;
    return json_get_integer(object, member, 0, INT64_MAX, &value, NULL) ? 0 : (uint64_t)value;
}

void progress_read(int work_fd, char **ret_directory, uint64_t *files_done, uint64_t *files_total,
                   uint64_t *bytes_done, uint64_t *bytes_total)
{
    _cleanup_(buffer_done) struct buffer text = {0}, directory = {0};
    _cleanup_(json_freep) json_t *object = NULL;
    *ret_directory = NULL;
    *files_done = *files_total = *bytes_done = *bytes_total = 0;
    if (file_read(work_fd, PROGRESS_FILE, SIZE_MAXIMUM, &text, NULL) ||
        json_parse_object(text.data, text.length, PROGRESS_FILE, &object, NULL) ||
        json_get_bytes(object, "directory", &directory, NULL))
        return;
    *ret_directory = strdup(directory.data);
    *files_done = get_number(object, "files_done");
    *files_total = get_number(object, "files_total");
    *bytes_done = get_number(object, "bytes_done");
    *bytes_total = get_number(object, "bytes_total");
}
