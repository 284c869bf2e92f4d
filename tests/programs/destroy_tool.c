/*
 * Calls the destroy room as told by the tests and says what it did, as lines "WORD TEXT":
 *
 *   destroy_tool file DIR NAME
 *   destroy_tool tree DIR NAME [keep SUBSTRING | lease]
 *   destroy_tool journal DIR
 *   destroy_tool free-space DIR
 *
 * "keep" refuses every file whose shown path contains SUBSTRING; "lease" takes a write lease on every file,
 * as conversion does. Exit status: that of the error code.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "destroy/destroy.h"

static _Atomic uint64_t files_done, bytes_done;

static void advance(void *context, uint64_t files, uint64_t bytes)
{
    (void)context;
    files_done += files;
    bytes_done += bytes;
}

static void stage(void *context, const char *name, uint64_t total_files, uint64_t total_bytes)
{
    (void)context;
    printf("stage %s, %" PRIu64 " files, %" PRIu64 " bytes\n", name, total_files, total_bytes);
}

static const struct report report = {.stage = stage, .advance = advance};

static enum error_code refuse(int file_fd, const struct stat *status, const char *shown_path, void *context,
                              struct error *reterr)
{
    (void)status;
    if ((fcntl(file_fd, F_GETFL) & O_ACCMODE) != O_RDWR)
        return error_set(reterr, ERR_FAILED, 0, "not open for writing");
    printf("asked %s\n", shown_path);
    return strstr(shown_path, context) ? error_set(reterr, ERR_BUSY, 0, "told to keep it") : OK;
}

static enum error_code lease(int file_fd, const struct stat *status, const char *shown_path, void *context,
                             struct error *reterr)
{
    (void)status;
    (void)context;
    if (fcntl(file_fd, F_SETLEASE, F_WRLCK) < 0)
        return error_set(reterr, ERR_BUSY, errno, "%s is in use", shown_path);
    return OK;
}

static enum error_code run_tree(int fd, char **arguments, struct finding_list *findings, struct error *reterr)
{
    struct destroy_tree_options options = {.report = &report, .findings = findings};
    if (arguments[1] && !strcmp(arguments[1], "lease"))
        options.may_destroy = lease;
    if (arguments[1] && !strcmp(arguments[1], "keep")) {
        options.may_destroy = refuse;
        options.context = arguments[2];
    }
    return destroy_tree(fd, arguments[0], &options, reterr);
}

static enum error_code run_file(int fd, const char *name, struct error *reterr)
{
    static const char *const words[] = {"not tried", "done", "not supported", "failed"};
    struct destroy_result result = {0};
    enum error_code code = destroy_file(fd, name, &result, reterr);
    for (unsigned step = 0; step < DESTROY_STEPS; step++)
        printf("step %s: %s (%d)\n", destroy_step_word(step), words[result.outcome[step]],
               result.os_errno[step]);
    return code;
}

static enum error_code run(const char *verb, int fd, char **arguments, struct finding_list *findings,
                           struct error *reterr)
{
    if (!strcmp(verb, "file"))
        return run_file(fd, arguments[0], reterr);
    if (!strcmp(verb, "tree"))
        return run_tree(fd, arguments, findings, reterr);
    if (!strcmp(verb, "journal"))
        return destroy_journal(fd, reterr);
    if (!strcmp(verb, "free-space")) {
        uint64_t overwritten = 0;
        enum error_code code = destroy_free_space(fd, &report, findings, &overwritten, reterr);
        printf("overwritten %" PRIu64 "\n", overwritten);
        return code;
    }
    return error_set(reterr, ERR_USAGE, 0, "no such verb: %s", verb);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    _cleanup_(close_fdp) int fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        perror(argv[2]);
        return 1;
    }
    interrupt_install();
    signal(SIGIO, SIG_IGN);
    struct finding_list findings = {0};
    struct error error = ERROR_NONE;
    enum error_code code = run(argv[1], fd, argv + 3, &findings, &error);
    for (size_t i = 0; i < findings.count; i++)
        printf("finding %s | %s | %s | %s\n", findings.items[i].kind, findings.items[i].subject,
               findings.items[i].cause, findings.items[i].remedy);
    printf("dropped %zu\n", findings.dropped);
    printf("progress %" PRIu64 " files, %" PRIu64 " bytes\n", files_done, bytes_done);
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        printf("memory %ld\n", usage.ru_maxrss);
    if (code)
        printf("error %s: %s\n", error_word(code), error.message);
    finding_list_done(&findings);
    return error_exit_status(code);
}
