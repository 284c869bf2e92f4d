#include "verb.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "program.h"

/* Of a list up to OPTION_END; NULL past it, and *n is then what is left to skip. */
static const struct verb_option *nth(const struct verb_option *options, size_t *n)
{
    for (; options && options->id != OPTION_END; options++)
        if ((*n)-- == 0)
            return options;
    return NULL;
}

bool verb_option_at(const struct verb *verb, size_t n, struct verb_option_view *ret_view)
{
    const struct verb_option *option = nth(verb->options, &n);
    if (!option)
        option = nth(program.common, &n);
    if (!option)
        return false;
    const struct option_spec *spec = &program.options[option->id];
    *ret_view =
        (struct verb_option_view){spec, option->id, option->role, option->help ? option->help : spec->help};
    return true;
}

/* How many of the words spell the verb's name: all of it or 0. */
static size_t name_matches(const struct verb *verb, const char *const *words, size_t count)
{
    size_t used = 0;
    for (const char *name = verb->name; *name;) {
        size_t length = strcspn(name, " ");
        if (used == count || strlen(words[used]) != length || memcmp(words[used], name, length))
            return 0;
        used++;
        name += length + (name[length] == ' ');
    }
    return used;
}

bool verb_is_first_word(const char *word)
{
    const size_t length = strlen(word);
    for (size_t i = 0; length && program.verbs[i]; i++)
        if (!strncmp(program.verbs[i]->name, word, length) && program.verbs[i]->name[length] == ' ')
            return true;
    return false;
}

/* The word is the first of some two-word verbs: name what can follow it. */
static enum error_code say_second_words(const char *word, const char *given, struct error *reterr)
{
    char list[256] = "";
    size_t length = strlen(word), used = 0;
    for (size_t i = 0; program.verbs[i]; i++)
        if (!strncmp(program.verbs[i]->name, word, length) && program.verbs[i]->name[length] == ' ' &&
            used < sizeof(list))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
                                     program.verbs[i]->name + length + 1);
    if (!used)
        return OK;
    if (given && *given != '-')
        error_set(reterr, ERR_USAGE, 0, "%s %s has no %s: it is one of %s", program.name, word,
                  text_shown(given), list);
    else
        error_set(reterr, ERR_USAGE, 0, "%s %s needs one of %s", program.name, word, list);
    error_remedy(reterr, "see %s help %s", program.name, word);
    return ERR_USAGE;
}

enum error_code verb_find(const char *const *words, size_t count, const struct verb **ret_verb,
                          size_t *ret_used, struct error *reterr)
{
    for (size_t i = 0; program.verbs[i]; i++) {
        size_t used = name_matches(program.verbs[i], words, count);
        if (used) {
            *ret_verb = program.verbs[i];
            *ret_used = used;
            return OK;
        }
    }
    if (count > 0 && *words[0]) {
        enum error_code code = say_second_words(words[0], count > 1 ? words[1] : NULL, reterr);
        if (code)
            return code;
        error_set(reterr, ERR_USAGE, 0, "%s %s", words[0][0] == '-' ? "unknown option" : "unknown verb",
                  text_shown(words[0]));
    } else {
        error_set(reterr, ERR_USAGE, 0, "no verb given");
    }
    error_remedy(reterr, "see %s --help", program.name);
    return ERR_USAGE;
}

const char *verb_schema_word(const struct verb *verb)
{
    static char word[32];
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(verb->name, " "), verb->name);
    return word;
}
