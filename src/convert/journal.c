#include "convert/journal.h"

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "json/json.h"

enum { JOURNAL_VERSION = 1, JOURNAL_SIZE_MAXIMUM = 4 << 20 };
#define JOURNAL_FILE "journal.json"

static const char *const state_words[] = {"planned", "frozen", "exchanging", "scrubbing", "done"};
static const char *const direction_words[] = {"protect", "unprotect"};

const char *convert_state_word(enum convert_state state)
{
    return state_words[state];
}

static enum error_code find_word(const char *word, const char *const *words, size_t count,
                                 unsigned *ret_index, struct error *reterr)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(word, words[i])) {
            *ret_index = (unsigned)i;
            return OK;
        }
    return error_set(reterr, ERR_CORRUPT, 0, "unknown word \"%s\"", text_shown(word));
}

enum error_code journal_add(struct convert_journal *journal, const char *path, struct error *reterr)
{
    if (journal->count == VAULT_DIRECTORIES_MAXIMUM)
        return error_set(reterr, ERR_USAGE, 0, "more than %d directories", VAULT_DIRECTORIES_MAXIMUM);
    struct convert_directory *directories =
        realloc(journal->directories, (journal->count + 1) * sizeof(*journal->directories));
    if (directories)
        journal->directories = directories;
    char *copy = strdup(path);
    if (!directories || !copy) {
        free(copy);
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    directories[journal->count++] = (struct convert_directory){.path = copy};
    return OK;
}

struct convert_directory *journal_find(const struct convert_journal *journal, const char *path)
{
    for (size_t i = 0; i < journal->count; i++)
        if (!strcmp(journal->directories[i].path, path))
            return &journal->directories[i];
    return NULL;
}

void journal_done(struct convert_journal *journal)
{
    for (size_t i = 0; i < journal->count; i++)
        free(journal->directories[i].path);
    free(journal->directories);
    *journal = (struct convert_journal){0};
}

/* A path below the root: no empty, "." or ".." component, no slash at either end. */
static bool path_is_sound(const char *path)
{
    if (!*path)
        return false;
    for (const char *component = path;;) {
        size_t length = strcspn(component, "/");
        if (length == 0 || (length == 1 && component[0] == '.') ||
            (length == 2 && !memcmp(component, "..", 2)))
            return false;
        if (!component[length])
            return true;
        component += length + 1;
    }
}

static enum error_code parse_directory(json_t *object, struct convert_journal *journal, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer path = {0};
    int64_t root_flags;
    bool has_twin;
    struct fscrypt_nonce nonce;
    enum error_code code = json_get_bytes(object, "path", &path, reterr);
    if (!code && !path_is_sound(path.data))
        code = error_set(reterr, ERR_CORRUPT, 0, "a path that leads elsewhere");
    if (!code)
        code = json_get_boolean(object, "has_twin", &has_twin, reterr);
    if (!code)
        code = json_get_hex(object, "nonce", nonce.bytes, sizeof(nonce.bytes), reterr);
    if (!code)
        code = json_get_integer(object, "root_flags", 0, UINT32_MAX, &root_flags, reterr);
    if (!code && journal_find(journal, path.data))
        code = error_set(reterr, ERR_CORRUPT, 0, "a directory stands in it twice");
    if (!code)
        code = journal_add(journal, path.data, reterr);
    if (code)
        return code;
    struct convert_directory *directory = &journal->directories[journal->count - 1];
    directory->has_twin = has_twin;
    directory->nonce = nonce;
    directory->root_flags = (uint32_t)root_flags;
    return OK;
}

static enum error_code parse_object(json_t *object, struct convert_journal *journal, struct error *reterr)
{
    const char *state, *direction;
    unsigned state_index = 0, direction_index = 0;
    json_t *directories;
    enum error_code code = json_check_version(object, JOURNAL_VERSION, JOURNAL_FILE, reterr);
    if (!code)
        code = json_get_string(object, "state", &state, reterr);
    if (!code)
        code = find_word(state, state_words, ARRAY_SIZE(state_words), &state_index, reterr);
    if (!code)
        code = json_get_string(object, "direction", &direction, reterr);
    if (!code)
        code = find_word(direction, direction_words, ARRAY_SIZE(direction_words), &direction_index, reterr);
    if (!code && json_object_get(object, "waits"))
        code = json_get_boolean(object, "waits", &journal->waits, reterr);
    if (!code)
        code = json_get_boolean(object, "proven", &journal->proven, reterr);
    if (!code)
        code = json_get_boolean(object, "partly_overwritten", &journal->partly_overwritten, reterr);
    if (!code)
        code = json_get_hex(object, "vault", journal->vault.bytes, sizeof(journal->vault.bytes), reterr);
    if (!code)
        code = json_get_array(object, "directories", VAULT_DIRECTORIES_MAXIMUM, &directories, reterr);
    if (code)
        return code;
    journal->state = (enum convert_state)state_index;
    journal->direction = (enum convert_direction)direction_index;
    for (size_t i = 0; !code && i < json_array_size(directories); i++) {
        json_t *directory = json_array_get(directories, i);
        code = json_is_object(directory) ? parse_directory(directory, journal, reterr)
                                         : error_set(reterr, ERR_CORRUPT, 0, "a directory that is no object");
    }
    return code;
}

enum error_code journal_parse(const char *text, size_t length, struct convert_journal *ret_journal,
                              struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    struct convert_journal journal = {0};
    enum error_code code = json_parse_object(text, length, JOURNAL_FILE, &object, reterr);
    if (code)
        return code;
    code = parse_object(object, &journal, reterr);
    if (code) {
        journal_done(&journal);
        error_prefix(reterr, "the conversion's journal");
        return code;
    }
    *ret_journal = journal;
    return OK;
}

static enum error_code format_directory(const struct convert_directory *directory, json_t *array,
                                        struct error *reterr)
{
    json_t *object = json_object();
    enum error_code code =
        object ? json_set_bytes(object, "path", directory->path, strlen(directory->path), reterr)
               : ERR_NO_MEMORY;
    if (!code)
        code = json_set_new(object, "has_twin", json_boolean(directory->has_twin), reterr);
    if (!code)
        code = json_set_hex(object, "nonce", directory->nonce.bytes, sizeof(directory->nonce.bytes), reterr);
    if (!code)
        code = json_set_new(object, "root_flags", json_integer(directory->root_flags), reterr);
    if (code) {
        json_decref(object);
        return code;
    }
    return json_array_append_new(array, object) < 0 ? error_set(reterr, ERR_NO_MEMORY, 0, "out of memory")
                                                    : OK;
}

enum error_code journal_format(const struct convert_journal *journal, struct buffer *text,
                               struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = json_object();
    json_t *array = json_array();
    enum error_code code = OK;
    for (size_t i = 0; !code && array && i < journal->count; i++)
        code = format_directory(&journal->directories[i], array, reterr);
    if (code || !object || !array) {
        json_decref(array);
        return code ? code : error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    code = json_set_new(object, "version", json_integer(JOURNAL_VERSION), reterr);
    if (!code)
        code = json_set_new(object, "state", json_string(state_words[journal->state]), reterr);
    if (!code)
        code = json_set_new(object, "direction", json_string(direction_words[journal->direction]), reterr);
    if (!code && journal->waits)
        code = json_set_new(object, "waits", json_true(), reterr);
    if (!code)
        code = json_set_new(object, "proven", json_boolean(journal->proven), reterr);
    if (!code)
        code = json_set_new(object, "partly_overwritten", json_boolean(journal->partly_overwritten), reterr);
    if (!code)
        code = json_set_hex(object, "vault", journal->vault.bytes, sizeof(journal->vault.bytes), reterr);
    if (code) {
        json_decref(array);
        return code;
    }
    code = json_set_new(object, "directories", array, reterr);
    return code ? code : json_format(object, text, reterr);
}

enum error_code journal_read(int work_fd, struct convert_journal *ret_journal, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = file_read(work_fd, JOURNAL_FILE, JOURNAL_SIZE_MAXIMUM, &text, reterr);
    return code ? code : journal_parse(text.data, text.length, ret_journal, reterr);
}

enum error_code journal_write(int work_fd, const struct convert_journal *journal, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = journal_format(journal, &text, reterr);
    int injected = code ? 0 : fault("convert.journal");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write");
    if (!code)
        code = file_write_durable(work_fd, JOURNAL_FILE, 0600, text.data, text.length, reterr);
    if (code)
        error_prefix(reterr, "the conversion's journal");
    (void)fault("convert.journal.written");
    return code;
}
