/*
 * Each thread walks depth first by itself. While there is room in a short queue it hands out subdirectories
 * and batches of names to the others; when the queue is full it goes on alone. So the work spreads without a
 * list that grows with the tree. A directory lives until its own listing and everything handed out below it
 * is done: `pending` counts both.
 */
#include "tree/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "tree/look.h"

enum {
    QUEUE_MAXIMUM = 4 * TREE_THREADS_MAXIMUM,
    BATCH_NAMES = 64,
    LISTING_SIZE = 32768,
    STACK_SIZE = 64 << 20, /* address space only; the recursion is as deep as the tree */
};

enum job_kind { JOB_ROOT, JOB_DIRECTORY, JOB_NAMES };
struct job {
    enum job_kind kind;
    struct tree_directory *directory; /* counted in its pending */
    struct buffer names;              /* each with its NUL; of a JOB_DIRECTORY one, of the JOB_ROOT none */
};

struct walk {
    const struct tree_visitor *visitor;
    unsigned threads;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job queue[QUEUE_MAXIMUM]; /* under mutex */
    unsigned queued, idle;           /* under mutex */
    bool finished;                   /* under mutex */
    atomic_bool failed;
    struct error error; /* under mutex; of the first failure */
};

static _Thread_local unsigned worker_number;

unsigned tree_walk_worker(void)
{
    return worker_number;
}

static unsigned threads_for(unsigned each_processor)
{
    cpu_set_t set;
    unsigned count = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    count *= each_processor;
    return count > TREE_THREADS_MAXIMUM ? TREE_THREADS_MAXIMUM : count;
}

unsigned tree_walk_threads(void)
{
    return threads_for(1);
}

unsigned tree_walk_waiting_threads(void)
{
    return threads_for(4);
}

const char *tree_path(const struct tree_directory *directory, const char *name, char out[TREE_PATH_SIZE])
{
    /* Filled from its end, the last component first. */
    size_t start = TREE_PATH_SIZE - 1;
    char shown[4 * NAME_MAX + 1];
    out[start] = '\0';
    for (const struct tree_directory *at = directory; name || at;) {
        text_show(shown, sizeof(shown), name ? name : at->name);
        size_t length = strlen(shown);
        bool separator = out[start] != '\0' && length > 0;
        if (start < length + separator + 4) {
            start -= 4;
            memcpy(out + start, ".../", 4);
            break;
        }
        if (separator)
            out[--start] = '/';
        start -= length;
        memcpy(out + start, shown, length);
        if (!name)
            at = at->parent;
        name = NULL;
    }
    memmove(out, out + start, TREE_PATH_SIZE - start);
    if (!out[0])
        memcpy(out, ".", 2);
    return out;
}

static void keep_error(struct walk *walk, const struct error *error)
{
    pthread_mutex_lock(&walk->mutex);
    if (!atomic_exchange(&walk->failed, true))
        walk->error = *error;
    pthread_mutex_unlock(&walk->mutex);
}

static bool failed(struct walk *walk)
{
    if (interrupt_requested() && !atomic_load(&walk->failed)) {
        struct error error = ERROR_NONE;
        if (interrupt_check(&error))
            keep_error(walk, &error);
    }
    return atomic_load_explicit(&walk->failed, memory_order_relaxed);
}

static void directory_free(struct tree_directory *directory)
{
    close_fdp(&directory->fd);
    close_fdp(&directory->twin_fd);
    free(directory->name);
    free(directory);
}

/* Give back one count of directory; the last one leaves it and goes on with its parent. */
static void release(struct walk *walk, struct tree_directory *directory)
{
    while (directory && atomic_fetch_sub(&directory->pending, 1) == 1) {
        struct tree_directory *parent = directory->parent;
        struct error error = ERROR_NONE;
        if (!failed(walk) && !directory->skip && walk->visitor->leave &&
            walk->visitor->leave(directory, walk->visitor->context, &error))
            keep_error(walk, &error);
        directory_free(directory);
        directory = parent;
    }
}

/* Hand a job to another thread if one may want it. Takes over names on success. */
static bool hand_out(struct walk *walk, enum job_kind kind, struct tree_directory *directory,
                     struct buffer *names)
{
    if (walk->threads == 1)
        return false;
    pthread_mutex_lock(&walk->mutex);
    bool room = walk->queued < QUEUE_MAXIMUM && walk->queued < 2 * walk->threads;
    if (room) {
        atomic_fetch_add(&directory->pending, 1);
        walk->queue[walk->queued++] = (struct job){.kind = kind, .directory = directory, .names = *names};
        *names = (struct buffer){0};
        pthread_cond_signal(&walk->changed);
    }
    pthread_mutex_unlock(&walk->mutex);
    return room;
}

static enum error_code look(struct tree_directory *directory, const char *name, struct statx *status,
                            struct error *reterr)
{
    if (tree_look(directory->fd, name, status) == 0)
        return OK;
    return error_set(reterr, errno == ENOENT || errno == ESTALE ? ERR_CHANGED : ERR_FAILED, errno,
                     "cannot look at %s", tree_shown(directory, name));
}

static void visit_names(struct walk *walk, struct tree_directory *directory, const struct buffer *names)
{
    for (size_t at = 0; at < names->length && !failed(walk); at += strlen(names->data + at) + 1) {
        const char *name = names->data + at;
        struct statx status;
        struct error error = ERROR_NONE;
        enum error_code code = look(directory, name, &status, &error);
        if (!code && S_ISDIR(status.stx_mode))
            code = error_set(&error, ERR_CHANGED, 0, "%s became a directory while it was looked at",
                             tree_shown(directory, name));
        if (!code)
            code = walk->visitor->entry(directory, name, &status, walk->visitor->context, &error);
        if (code)
            keep_error(walk, &error);
    }
}

static void flush_names(struct walk *walk, struct tree_directory *directory, struct buffer *names)
{
    if (names->length && !hand_out(walk, JOB_NAMES, directory, names))
        visit_names(walk, directory, names);
    buffer_done(names);
}

struct linux_dirent {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* One name of a listing goes to the batch, or to the subdirectories that are visited afterwards. */
static enum error_code sort_name(struct walk *walk, struct tree_directory *directory,
                                 const struct linux_dirent *entry, struct buffer *names, unsigned *batch,
                                 struct buffer *subdirectories, struct error *reterr)
{
    unsigned char type = entry->type;
    if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
        return OK;
    atomic_fetch_add_explicit(&directory->names, 1, memory_order_relaxed);
    if (type == DT_UNKNOWN) {
        struct statx status;
        enum error_code code = look(directory, entry->name, &status, reterr);
        if (code)
            return code;
        type = S_ISDIR(status.stx_mode) ? DT_DIR : DT_REG;
    }
    if (type == DT_DIR)
        return buffer_append(subdirectories, entry->name, strlen(entry->name) + 1, reterr);
    if (!walk->visitor->entry)
        return OK;
    enum error_code code = buffer_append(names, entry->name, strlen(entry->name) + 1, reterr);
    if (!code && ++*batch == BATCH_NAMES) {
        flush_names(walk, directory, names);
        *batch = 0;
    }
    return code;
}

static enum error_code list(struct walk *walk, struct tree_directory *directory,
                            struct buffer *subdirectories, struct error *reterr)
{
    _cleanup_(freep) char *listing = malloc(LISTING_SIZE);
    _cleanup_(buffer_done) struct buffer names = {0};
    unsigned batch = 0;
    if (!listing)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    while (!failed(walk)) {
        long got = syscall(SYS_getdents64, directory->fd, listing, LISTING_SIZE);
        if (got < 0)
            return error_set(reterr, ERR_FAILED, errno, "cannot list %s", tree_shown(directory, NULL));
        if (got == 0)
            break;
        for (long at = 0; at < got;) {
            const struct linux_dirent *entry = (const struct linux_dirent *)(const void *)(listing + at);
            enum error_code code = sort_name(walk, directory, entry, &names, &batch, subdirectories, reterr);
            if (code)
                return code;
            at += entry->length;
        }
    }
    flush_names(walk, directory, &names);
    return OK;
}

/* Open name below parent (or dup the root) as a directory of the walk. */
static enum error_code directory_new(struct tree_directory *parent, int root_fd, const char *name,
                                     struct tree_directory **ret_directory, struct error *reterr)
{
    if (parent && parent->depth + 1 > TREE_DEPTH_MAXIMUM) {
        error_set(reterr, ERR_UNSUPPORTED, 0, "the tree is deeper than %d levels at %s", TREE_DEPTH_MAXIMUM,
                  tree_shown(parent, name));
        return error_remedy(reterr, "move what lies that deep further up");
    }
    _cleanup_(close_fdp) int fd = openat(parent ? parent->fd : root_fd, parent ? name : ".",
                                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr,
                         errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? ERR_CHANGED : ERR_FAILED,
                         errno, "cannot open the directory %s", parent ? tree_shown(parent, name) : ".");
    struct tree_directory *directory = calloc(1, sizeof(*directory));
    char *copy = strdup(name);
    if (!directory || !copy) {
        free(directory);
        free(copy);
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    }
    *directory = (struct tree_directory){.parent = parent,
                                         .name = copy,
                                         .fd = TAKE_FD(fd),
                                         .twin_fd = -1,
                                         .depth = parent ? parent->depth + 1 : 0};
    atomic_init(&directory->pending, 1);
    if (tree_look(directory->fd, "", &directory->status) < 0) {
        enum error_code code =
            error_set(reterr, ERR_FAILED, errno, "cannot look at %s", tree_shown(directory, NULL));
        directory_free(directory);
        return code;
    }
    *ret_directory = directory;
    return OK;
}

static void visit_directory(struct walk *walk, struct tree_directory *parent, int root_fd, const char *name);

/* Everything of an open directory; gives back its own count at the end. */
static void visit_opened(struct walk *walk, struct tree_directory *directory)
{
    _cleanup_(buffer_done) struct buffer subdirectories = {.maximum = (size_t)512 << 20};
    struct error error = ERROR_NONE;
    enum error_code code = OK;
    if (walk->visitor->enter)
        code = walk->visitor->enter(directory, walk->visitor->context, &error);
    if (!code && !directory->skip)
        code = list(walk, directory, &subdirectories, &error);
    if (code)
        keep_error(walk, &error);
    for (size_t at = 0; at < subdirectories.length && !failed(walk);
         at += strlen(subdirectories.data + at) + 1) {
        const char *child = subdirectories.data + at;
        struct buffer names = {0};
        if (buffer_append(&names, child, strlen(child) + 1, &error)) {
            keep_error(walk, &error);
            break;
        }
        if (!hand_out(walk, JOB_DIRECTORY, directory, &names))
            visit_directory(walk, directory, -1, child);
        buffer_done(&names);
    }
    release(walk, directory);
}

static void visit_directory(struct walk *walk, struct tree_directory *parent, int root_fd, const char *name)
{
    struct tree_directory *directory = NULL;
    struct error error = ERROR_NONE;
    if (failed(walk))
        return;
    if (directory_new(parent, root_fd, name, &directory, &error)) {
        keep_error(walk, &error);
        return;
    }
    if (parent)
        atomic_fetch_add(&parent->pending, 1);
    visit_opened(walk, directory);
}

static void run_job(struct walk *walk, struct job *job)
{
    if (job->kind == JOB_ROOT) {
        visit_opened(walk, job->directory);
        return;
    }
    if (job->kind == JOB_NAMES)
        visit_names(walk, job->directory, &job->names);
    else
        visit_directory(walk, job->directory, -1, job->names.data);
    release(walk, job->directory);
    buffer_done(&job->names);
}

/* Take jobs until no thread has any and the queue is empty. */
static void work(struct walk *walk)
{
    pthread_mutex_lock(&walk->mutex);
    for (;;) {
        if (walk->queued > 0) {
            struct job job = walk->queue[--walk->queued];
            pthread_mutex_unlock(&walk->mutex);
            run_job(walk, &job);
            pthread_mutex_lock(&walk->mutex);
            continue;
        }
        walk->idle++;
        if (walk->idle == walk->threads) {
            walk->finished = true;
            pthread_cond_broadcast(&walk->changed);
        }
        while (!walk->finished && walk->queued == 0)
            pthread_cond_wait(&walk->changed, &walk->mutex);
        if (walk->finished)
            break;
        walk->idle--;
    }
    pthread_mutex_unlock(&walk->mutex);
}

struct worker {
    struct walk *walk;
    unsigned number;
};

static void *worker_main(void *context)
{
    const struct worker *worker = context;
    worker_number = worker->number;
    work(worker->walk);
    return NULL;
}

/* Two descriptors a level. The limit only ever goes up. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    const rlim_t wanted = 2 * TREE_DEPTH_MAXIMUM + 4096;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted)
        limit.rlim_max = wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* All work is done by started threads, also with one: their stack is as deep as the deepest tree needs. */
static enum error_code run_threads(struct walk *walk, struct error *reterr)
{
    struct worker workers[TREE_THREADS_MAXIMUM];
    pthread_t threads[TREE_THREADS_MAXIMUM];
    unsigned started = 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_mutex_lock(&walk->mutex); /* none runs before all are there, and walk->threads is right */
    int failure = 0;
    for (unsigned i = 0; i < walk->threads && !failure; i++) {
        workers[i] = (struct worker){.walk = walk, .number = i};
        failure = pthread_create(&threads[i], &attributes, worker_main, &workers[i]);
        if (!failure)
            started++;
    }
    walk->threads = started;
    pthread_mutex_unlock(&walk->mutex);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_attr_destroy(&attributes);
    return started ? OK : error_set(reterr, ERR_NO_MEMORY, failure, "cannot start a thread");
}

enum error_code tree_walk(int root_fd, unsigned threads, const struct tree_visitor *visitor,
                          struct error *reterr)
{
    _cleanup_(freep) struct walk *walk = calloc(1, sizeof(*walk));
    struct tree_directory *root = NULL;
    if (!walk)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    allow_descriptors();
    enum error_code code = directory_new(NULL, root_fd, "", &root, reterr);
    if (code)
        return code;
    walk->visitor = visitor;
    walk->threads = threads < 1 ? 1 : threads > TREE_THREADS_MAXIMUM ? TREE_THREADS_MAXIMUM : threads;
    pthread_mutex_init(&walk->mutex, NULL);
    pthread_cond_init(&walk->changed, NULL);
    walk->queue[walk->queued++] = (struct job){.kind = JOB_ROOT, .directory = root};
    code = run_threads(walk, reterr);
    if (code)
        directory_free(root);
    pthread_cond_destroy(&walk->changed);
    pthread_mutex_destroy(&walk->mutex);
    if (!code && atomic_load(&walk->failed)) {
        if (reterr)
            *reterr = walk->error;
        code = walk->error.code;
    }
    return code;
}
