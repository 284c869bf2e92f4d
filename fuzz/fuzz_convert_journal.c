/* journal.json of a conversion: whatever parses can be written, and parses again as the same. */
#include "convert/journal.h"
#include "target.h"

static void check_path(const char *path)
{
    /* Joined to a directory, it can never lead out of it. */
    must_hold(path[0] && path[0] != '/' && strcmp(path, "..") && strncmp(path, "../", 3));
    must_hold(!strstr(path, "/../") && !strstr(path, "//"));
    size_t length = strlen(path);
    must_hold(path[length - 1] != '/' && (length < 3 || strcmp(path + length - 3, "/..")));
}

static void check_same(const struct convert_journal *left, const struct convert_journal *right)
{
    must_hold(left->state == right->state && left->direction == right->direction);
    must_hold(left->proven == right->proven && left->count == right->count);
    must_hold(!memcmp(&left->vault, &right->vault, sizeof(left->vault)));
    for (size_t i = 0; i < left->count; i++) {
        const struct convert_directory *one = &left->directories[i], *other = &right->directories[i];
        check_path(one->path);
        must_hold(!strcmp(one->path, other->path) && one->has_twin == other->has_twin);
        must_hold(one->root_flags == other->root_flags);
        must_hold(!memcmp(&one->nonce, &other->nonce, sizeof(one->nonce)));
        must_hold(journal_find(left, one->path) == one); /* none stands in it twice */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct convert_journal journal = {0}, again = {0};
    struct buffer text = {0};
    struct error error = ERROR_NONE;
    enum error_code code = journal_parse((const char *)data, size, &journal, &error);
    if (code) {
        must_hold((code == ERR_CORRUPT || code == ERR_TOO_NEW) && error.message[0]);
        must_hold(!journal.directories && journal.count == 0);
        return 0;
    }
    must_hold(convert_state_word(journal.state) != NULL);
    must_hold(journal_format(&journal, &text, NULL) == OK);
    must_hold(journal_parse(text.data, text.length, &again, NULL) == OK);
    check_same(&journal, &again);
    buffer_done(&text);
    journal_done(&again);
    journal_done(&journal);
    return 0;
}
