#include "filesystem/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "base/buffer.h"
#include "base/file.h"

/* A machine full of containers has some thousand mounts of about 300 bytes. */
#define MOUNTINFO_MAXIMUM ((size_t)16 << 20)

static bool is_octal(char digit)
{
    return digit >= '0' && digit <= '7';
}

void mount_unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && is_octal(from[2]) && is_octal(from[3])) {
            *to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 3;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

/* Cut the next field off, at one single space: fields may be empty. NULL at the end of the line. */
static char *take_field(char **line)
{
    if (!*line)
        return NULL;
    char *field = *line;
    char *end = strchr(field, ' ');
    if (end)
        *end = '\0';
    *line = end ? end + 1 : NULL;
    return field;
}

static bool parse_number(const char *text, const char *end, unsigned long *ret_number)
{
    if (!text || *text < '0' || *text > '9')
        return false;
    char *stop;
    errno = 0;
    unsigned long number = strtoul(text, &stop, 10);
    if (errno || (end ? stop != end : *stop != '\0') || number > INT32_MAX)
        return false;
    *ret_number = number;
    return true;
}

static bool parse_device(const char *text, dev_t *ret_device)
{
    unsigned long major_number, minor_number;
    const char *colon = text ? strchr(text, ':') : NULL;
    if (!colon || !parse_number(text, colon, &major_number) || !parse_number(colon + 1, NULL, &minor_number))
        return false;
    *ret_device = makedev((unsigned)major_number, (unsigned)minor_number);
    return true;
}

/* "36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/vda rw": any number of fields before "-". */
static bool parse_line(char *line, struct mount_entry *ret_entry)
{
    unsigned long id, parent_id;
    struct mount_entry entry = {0};
    if (!parse_number(take_field(&line), NULL, &id) || !parse_number(take_field(&line), NULL, &parent_id) ||
        !parse_device(take_field(&line), &entry.device))
        return false;
    entry.id = (int)id;
    entry.parent_id = (int)parent_id;

    char *root = take_field(&line), *mount_point = take_field(&line), *options = take_field(&line);
    const char *field = options;
    while (field && strcmp(field, "-"))
        field = take_field(&line);
    char *type = take_field(&line), *source = take_field(&line), *super_options = take_field(&line);
    if (!options || !super_options)
        return false;
    mount_unescape(root);
    mount_unescape(mount_point);
    mount_unescape(type);
    mount_unescape(source);
    entry.root = root;
    entry.mount_point = mount_point;
    entry.type = type;
    entry.source = source;
    entry.super_options = super_options;
    *ret_entry = entry;
    return true;
}

static int compare_ids(const void *left, const void *right, void *context)
{
    const struct mount_entry *items = context;
    int left_id = items[*(const size_t *)left].id, right_id = items[*(const size_t *)right].id;
    return (left_id > right_id) - (left_id < right_id);
}

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += *text == '\n' || text[1] == '\0';
    return count;
}

static enum error_code fill(struct mount_table *table, struct error *reterr)
{
    size_t lines = count_lines(table->text);
    table->items = calloc(lines + 1, sizeof(*table->items));
    table->by_id = calloc(lines + 1, sizeof(*table->by_id));
    if (!table->items || !table->by_id)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for %zu mounts", lines);
    size_t number = 0;
    for (char *line = table->text; line && *line;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        number++;
        if (!parse_line(line, &table->items[table->count]))
            return error_set(reterr, ERR_CORRUPT, 0, "line %zu of the mount table is malformed", number);
        table->by_id[table->count] = table->count;
        table->count++;
        line = end ? end + 1 : NULL;
    }
    qsort_r(table->by_id, table->count, sizeof(*table->by_id), compare_ids, table->items);
    return OK;
}

enum error_code mount_table_parse(const char *text, size_t length, struct mount_table *ret_table,
                                  struct error *reterr)
{
    struct mount_table table = {.text = malloc(length + 1)};
    if (!table.text)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the mount table");
    memcpy(table.text, text, length);
    table.text[length] = '\0';
    enum error_code code = fill(&table, reterr);
    if (code)
        mount_table_done(&table);
    else
        *ret_table = table;
    return code;
}

enum error_code mount_table_read(const char *path, struct mount_table *ret_table, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = file_read(AT_FDCWD, path, MOUNTINFO_MAXIMUM, &text, reterr);
    return code ? code : mount_table_parse(text.data, text.length, ret_table, reterr);
}

const struct mount_entry *mount_table_find(const struct mount_table *table, int id)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mount_entry *entry = &table->items[table->by_id[middle]];
        if (entry->id == id)
            return entry;
        if (entry->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void mount_table_done(struct mount_table *table)
{
    free(table->items);
    free(table->by_id);
    free(table->text);
    *table = (struct mount_table){0};
}

const char *mount_option_find(const char *options, const char *name, size_t *ret_length)
{
    size_t name_length = strlen(name);
    while (options) {
        const char *end = strchrnul(options, ',');
        if (!strncmp(options, name, name_length) && options + name_length <= end) {
            const char *value = options + name_length;
            if (value == end || *value == '=') {
                value += value != end;
                *ret_length = (size_t)(end - value);
                return value;
            }
        }
        options = *end ? end + 1 : NULL;
    }
    return NULL;
}

const char *path_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    if (length == 1 && *directory == '/')
        length = 0;
    if (!strcmp(path, "/"))
        path++;
    if (strncmp(path, directory, length))
        return NULL;
    if (path[length] == '\0')
        return path + length;
    if (length == 0)
        return path + (*path == '/');
    return path[length] == '/' ? path + length + 1 : NULL;
}
