/* The script for bash's completion, from the table of verbs. */
#include "base/cleanup.h"
#include "help.h"

static const char head[] =
    "# bash completion for husk, made from its table of verbs: husk --print-completion\n"
    "_husk_names()\n"
    "{\n"
    "    local i at=/ roots root mount type path\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        [[ ${COMP_WORDS[i]} == --at ]] && at=${COMP_WORDS[i + 1]}\n"
    "    done\n"
    "    at=${at%/}\n"
    "    roots=(\"$at\")\n"
    "    while read -r _ mount type _; do\n"
    "        printf -v mount %b \"$mount\"\n"
    "        [[ $type == ext4 && $mount == \"$at\"/?* ]] && roots+=(\"$mount\")\n"
    "    done < /proc/self/mounts\n"
    "    for root in \"${roots[@]}\"; do\n"
    "        for path in \"$root\"/.husk/vaults/*/vault.json; do\n"
    "            path=${path%/vault.json}\n"
    "            [[ -f $path/vault.json ]] && printf '%s\\n' \"${path##*/}\"\n"
    "        done\n"
    "    done\n"
    "}\n"
    "\n"
    "_husk()\n"
    "{\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    local verb=${COMP_WORDS[1]} options= operand=\n"
    "    COMPREPLY=()\n";

static const char tail[] =
    "    esac\n"
    "\n"
    "    if [[ $current == -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
    "        return\n"
    "    fi\n"
    "    case $operand in\n"
    "    *PATH*) mapfile -t COMPREPLY < <(compgen -d -- \"$current\"); compopt -o filenames 2> /dev/null ;;\n"
    "    *VERB*) mapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- \"$current\") ;;\n"
    "    *FILE*) mapfile -t COMPREPLY < <(compgen -W \"$(_husk_names)\" -- \"$current\"; compgen -f -- "
    "\"$current\") ;;\n"
    "    *NAME*) mapfile -t COMPREPLY < <(compgen -W \"$(_husk_names)\" -- \"$current\") ;;\n"
    "    esac\n"
    "}\n"
    "complete -F _husk husk\n";

/* Options whose value is the name of something: a line of the case for each sort. */
static enum error_code add_values(struct buffer *text, struct error *reterr)
{
    static const struct {
        const char *argument, *action;
    } sorts[] = {
        {"F", "mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); compopt -o filenames 2> /dev/null"},
        {"DIR", "mapfile -t COMPREPLY < <(compgen -d -- \"$current\"); compopt -o filenames 2> /dev/null"},
        {"NAME", "mapfile -t COMPREPLY < <(compgen -W \"$(_husk_names)\" -- \"$current\")"},
        {"NAME|HOSTNAME", ":"},
    };
    enum error_code code = buffer_printf(text, reterr, "    case $previous in\n");
    for (size_t sort = 0; !code && sort < ARRAY_SIZE(sorts); sort++) {
        const char *between = "    ";
        for (int id = 0; !code && id < OPTIONS; id++) {
            const char *argument = option_specs[id].argument;
            if (!argument || strcmp(argument, sorts[sort].argument))
                continue;
            code = buffer_printf(text, reterr, "%s--%s", between, option_specs[id].name);
            between = "|";
        }
        if (!code)
            code = buffer_printf(text, reterr, ")\n        %s\n        return\n        ;;\n",
                                 sorts[sort].action);
    }
    return code ? code : buffer_printf(text, reterr, "    esac\n\n");
}

/* The first words, each once, between quotes. */
static enum error_code add_first_words(struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "    local verbs='");
    for (size_t i = 0; !code && verbs[i]; i++) {
        const char *name = verbs[i]->name;
        size_t length = strcspn(name, " ");
        if (i > 0 && !strncmp(verbs[i - 1]->name, name, length) && name[length] == ' ')
            continue;
        code = buffer_printf(text, reterr, "%s%.*s", i ? " " : "", (int)length, name);
    }
    return code ? code
                : buffer_printf(text, reterr,
                                "'\n    if ((COMP_CWORD == 1)); then\n"
                                "        mapfile -t COMPREPLY < <(compgen -W \"$verbs --help --version\" -- "
                                "\"$current\")\n        return\n    fi\n");
}

/* "keyslot" is followed by one of its second words. */
static enum error_code add_second_words(struct buffer *text, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && verbs[i]; i++) {
        const char *name = verbs[i]->name;
        size_t length = strcspn(name, " ");
        if (!name[length] || (i > 0 && !strncmp(verbs[i - 1]->name, name, length + 1)))
            continue;
        code = buffer_printf(text, reterr,
                             "    if [[ $verb == %.*s ]]; then\n"
                             "        if ((COMP_CWORD == 2)); then\n"
                             "            mapfile -t COMPREPLY < <(compgen -W '",
                             (int)length, name);
        for (size_t k = i; !code && verbs[k] && !strncmp(verbs[k]->name, name, length + 1); k++)
            code = buffer_printf(text, reterr, "%s%s", k > i ? " " : "", verbs[k]->name + length + 1);
        if (!code)
            code = buffer_printf(text, reterr,
                                 "' -- \"$current\")\n            return\n        fi\n"
                                 "        verb=\"$verb ${COMP_WORDS[2]}\"\n    fi\n");
    }
    return code;
}

static enum error_code add_verb(const struct verb *verb, struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "    '%s')\n        options='", verb->name);
    struct verb_option_view option;
    for (size_t n = 0; !code && verb_option_at(verb, n, &option); n++)
        code = buffer_printf(text, reterr, "%s--%s", n ? " " : "", option.spec->name);
    return code ? code : buffer_printf(text, reterr, "'\n        operand='%s'\n        ;;\n", verb->operands);
}

enum error_code help_completion(struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "%s", head);
    if (!code)
        code = add_first_words(text, reterr);
    if (!code)
        code = add_second_words(text, reterr);
    if (!code)
        code = add_values(text, reterr);
    if (!code)
        code = buffer_printf(text, reterr, "    case $verb in\n");
    for (size_t i = 0; !code && verbs[i]; i++)
        code = add_verb(verbs[i], text, reterr);
    return code ? code : buffer_printf(text, reterr, "%s", tail);
}
