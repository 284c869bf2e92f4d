/* The way of every program: finds the verb, reads its options, and lets it act (verb.h, run.h). */
#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "help.h"
#include "place.h"
#include "run.h"

/* Descriptors 0 to 2 are there, so that no file is opened as one of them and written to by accident. Those
 * made up here fail on use. */
static void hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(1);
}

/* Options that stand in the place of a verb. Each appends what is to be printed. */
static enum error_code print_version(struct buffer *text, struct error *reterr)
{
    return buffer_printf(text, reterr, "%s %s\n", program.name, HUSK_VERSION);
}

static void add_fault(const char *name, void *context)
{
    enum error_code ignored = buffer_printf(context, NULL, "%s\n", name);
    (void)ignored;
}

static enum error_code print_faults(struct buffer *text, struct error *reterr)
{
    fault_list(add_fault, text);
    return buffer_append(text, "", 0, reterr);
}

static const struct {
    const char *word;
    enum error_code (*print)(struct buffer *text, struct error *reterr);
} program_options[] = {
    {"--help", help_overview},
    {"-h", help_overview},
    {"--version", print_version},
    {"--list-faults", print_faults},
    {"--print-completion", help_completion},
};

static bool is_help(const char *word)
{
    return !strcmp(word, "--help") || !strcmp(word, "-h");
}

static enum error_code act(struct run *run, const char *const *words, size_t count, struct error *reterr)
{
    size_t used = 0;
    const char *const help[] = {"help", count > 0 ? words[0] : ""};
    if (count > 1 && is_help(words[1]) && verb_is_first_word(words[0])) { /* keyslot --help */
        words = help;
        count = ARRAY_SIZE(help);
    }
    enum error_code code = verb_find(words, count, &run->verb, &used, reterr);
    if (!code)
        code = options_parse(run->verb, words + used, count - used, &run->arguments, reterr);
    if (code)
        return code;
    if (argument_given(&run->arguments, OPTION_HELP)) {
        _cleanup_(buffer_done) struct buffer text = {0};
        code = help_verb(run->verb, &text, reterr);
        if (!code)
            run_text(run, "%s", text.data);
        run_result(run, "verbs", json_pack("[o]", help_json(run->verb)));
        return code;
    }
    if (run->verb->effect == VERB_ACTS)
        run_result(run, "truths", json_incref(run->truths));
    if (run->verb->needs != VERB_NEEDS_NOTHING)
        code = program.prepare(run, reterr);
    if (!code && program.place && run->at && argument_given(&run->arguments, program.place))
        run->place = place_words(program.options[program.place].name, run->at);
    return code ? code : run->verb->act(run, reterr);
}

int program_main(int argc, char **argv)
{
    hold_standard_descriptors();
    umask(077);
    signal(SIGPIPE, SIG_IGN);
    interrupt_install();

    const char *const *words = (const char *const *)argv + (argc > 0);
    size_t count = argc > 0 ? (size_t)argc - 1 : 0;
    struct error error = ERROR_NONE;
    struct run run;
    enum error_code code = run_init(&run, &error);
    run.json = options_want_json(words, count);

    bool done = code != OK;
    for (size_t i = 0; !done && count == 1 && i < ARRAY_SIZE(program_options); i++) {
        if (strcmp(words[0], program_options[i].word))
            continue;
        _cleanup_(buffer_done) struct buffer text = {0};
        code = program_options[i].print(&text, &error);
        if (!code)
            run_text(&run, "%s", text.data);
        done = true;
    }
    if (!done)
        code = act(&run, words, count, &error);
    if (code == ERR_USAGE && run.verb)
        error_remedy(&error, "see %s help %s", program.name, run.verb->name);
    int status = run_finish(&run, code, &error);
    run_done(&run);
    return status;
}
