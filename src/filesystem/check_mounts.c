/* Mounts inside a directory, out of it and over it, and NFS exports of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/text.h"
#include "filesystem/exports.h"
#include "filesystem/filesystem.h"
#include "filesystem/overlay_layers.h"
#include "filesystem/processes.h"
#include "filesystem/relative_path.h"

static const char foreign_remedy[] = "stop that program, or end that mount namespace (unmount what keeps it)";

struct check {
    const struct filesystem *filesystem;
    const char *relative_path;
    struct finding_list *findings;
    const struct mount_view *view; /* the one in hand, while mounts are looked at */
    const char *exports_file;      /* the one in hand */
};

static bool is_told(const struct finding_list *findings, const char *kind, const char *subject,
                    const char *cause)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        if (!strcmp(finding->kind, kind) && !strcmp(finding->subject, subject) &&
            !strncmp(finding->cause, cause, strlen(cause)))
            return true;
    }
    return false;
}

/* Every mount namespace has its copy of a mount: told once, for the first view it is seen in. */
static void tell(struct check *check, const char *kind, const char *subject, const char *remedy,
                 const char *cause)
{
    char where[MOUNT_VIEW_TEXT_SIZE] = "";
    if (is_told(check->findings, kind, subject, cause))
        return;
    if (check->view)
        mount_view_describe(check->view, where);
    finding_add(check->findings, FINDING_BLOCKS, kind, subject, remedy, "%s%s%s", cause, *where ? " " : "",
                where);
}

/* "/srv/data" of the own mount point and a path inside the filesystem, escaped. */
static const char *show_inside(const struct check *check, const char *inside, char *text, size_t text_size)
{
    const char *mount_point = check->filesystem->mount_point;
    char whole[TEXT_SHOW_SIZE * 4];
    snprintf(whole, sizeof(whole), "%s/%s", strcmp(mount_point, "/") ? mount_point : "", inside);
    return text_show(text, text_size, whole);
}

/* "//deleted" stands behind the path of what has lost its name; no real path has two slashes. */
static bool is_deleted(const char *root)
{
    size_t length = strlen(root);
    return length >= 9 && !strcmp(root + length - 9, "//deleted");
}

/* What is mounted has lost the name it had, and has no other: it is not in the tree any more. */
static bool is_gone(const struct check *check, const struct mount_entry *entry)
{
    if (!is_deleted(entry->root))
        return false;
    _cleanup_(close_fdp) int fd = mount_view_open(check->view, entry->mount_point);
    struct stat status;
    return fd < 0 || fstat(fd, &status) < 0 || status.st_dev != entry->device || S_ISDIR(status.st_mode) ||
           status.st_nlink == 0;
}

static void check_bind(struct check *check, const struct mount_entry *entry)
{
    if (entry->device != check->filesystem->device ||
        !path_below(entry->root + (*entry->root == '/'), check->relative_path) || is_gone(check, entry))
        return;
    char subject[TEXT_SHOW_SIZE], cause[TEXT_SHOW_SIZE + 32];
    snprintf(cause, sizeof(cause), "it is mounted at %s", text_shown(entry->mount_point));
    tell(check, "busy-bind", show_inside(check, entry->root + 1, subject, sizeof(subject)),
         mount_view_is_own(check->view) ? "unmount it there" : foreign_remedy, cause);
}

/* Where in the filesystem the mount point lies: the root of the mount it lies on, and the way from there. */
static enum error_code check_inside(struct check *check, const struct mount_table *table,
                                    const struct mount_entry *entry, struct error *reterr)
{
    const struct mount_entry *parent = mount_table_find(table, entry->parent_id);
    if (!parent || parent == entry || parent->device != check->filesystem->device || is_deleted(parent->root))
        return OK;
    const char *below = path_below(entry->mount_point, parent->mount_point);
    if (!below)
        return OK;
    _cleanup_(freep) char *inside = NULL;
    const char *root = !strcmp(parent->root, "/") ? "" : parent->root;
    if (asprintf(&inside, "%s%s%s", root, *below ? "/" : "", below) < 0)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory to look at mounts");
    const char *relative = inside + (*inside == '/');
    if (!path_below(relative, check->relative_path))
        return OK;
    char subject[TEXT_SHOW_SIZE], cause[TEXT_SHOW_SIZE * 2];
    snprintf(cause, sizeof(cause), "%s (%s) is mounted on it", text_shown(entry->source),
             text_shown(entry->type));
    tell(check, "busy-mount", show_inside(check, relative, subject, sizeof(subject)),
         mount_view_is_own(check->view) ? "unmount it" : foreign_remedy, cause);
    return OK;
}

static enum error_code check_view(struct check *check, struct error *reterr)
{
    struct mount_table table;
    enum error_code code = mount_view_table(check->view, &table, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    for (size_t i = 0; i < table.count && !code; i++) {
        check_bind(check, &table.items[i]);
        code = check_inside(check, &table, &table.items[i], reterr);
    }
    mount_table_done(&table);
    return code;
}

/* Layers inside the directory are found by their inode; here those that the directory lies in. */
static enum error_code check_layer(int layer_fd, const char *mount_point, void *context, struct error *reterr)
{
    struct check *check = context;
    struct stat status;
    if (fstat(layer_fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat an overlay layer");
    if (status.st_dev != check->filesystem->device || !S_ISDIR(status.st_mode))
        return OK;
    _cleanup_(buffer_done) struct buffer layer = {0};
    enum error_code code = filesystem_relative_path_in(check->filesystem, layer_fd, &layer, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    if (!path_below(check->relative_path, layer.data) || !strcmp(check->relative_path, layer.data))
        return OK;
    char subject[TEXT_SHOW_SIZE], cause[TEXT_SHOW_SIZE + 128];
    snprintf(cause, sizeof(cause), "it lies in a layer of the overlay mount at %s", text_shown(mount_point));
    tell(check, "busy-overlay", show_inside(check, check->relative_path, subject, sizeof(subject)),
         "stop the container or unmount the overlay", cause);
    return OK;
}

/* A layer that is nowhere to be found may be anywhere; but an overlay shows the size of the filesystem that
 * its upper layer lies on, and that of others is no concern. */
static enum error_code check_lost_layer(int overlay_fd, const char *mount_point, const char *path,
                                        void *context, struct error *reterr)
{
    (void)reterr;
    struct check *check = context;
    struct statvfs overlay, own;
    if (overlay_fd >= 0 && fstatvfs(overlay_fd, &overlay) == 0 &&
        fstatvfs(check->filesystem->root_fd, &own) == 0 &&
        (overlay.f_blocks != own.f_blocks || overlay.f_files != own.f_files ||
         overlay.f_bsize != own.f_bsize))
        return OK;
    char subject[TEXT_SHOW_SIZE], cause[TEXT_SHOW_SIZE * 2 + 128];
    snprintf(cause, sizeof(cause),
             "the overlay mount at %s has a layer %s that cannot be found, and it may lie in here",
             text_shown(mount_point), text_shown(path));
    tell(check, "busy-overlay", show_inside(check, check->relative_path, subject, sizeof(subject)),
         "stop the container or unmount the overlay", cause);
    return OK;
}

/* The directory a descriptor leads to, or that a file lies in, as a path inside the filesystem. */
static enum error_code export_path(struct check *check, const char *path, struct buffer *relative,
                                   bool *ret_here, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    *ret_here = false;
    if (fd < 0 || fstat(fd, &status) < 0 || status.st_dev != check->filesystem->device)
        return OK;
    *ret_here = true;
    return filesystem_relative_path_in(check->filesystem, fd, relative, reterr);
}

static enum error_code check_export(const char *path, void *context, struct error *reterr)
{
    struct check *check = context;
    _cleanup_(buffer_done) struct buffer exported = {0};
    bool here;
    enum error_code code = export_path(check, path, &exported, &here, reterr);
    if (code || !here)
        return code;
    if (!path_below(exported.data, check->relative_path) && !path_below(check->relative_path, exported.data))
        return OK;
    char subject[TEXT_SHOW_SIZE], cause[TEXT_SHOW_SIZE + 128];
    snprintf(cause, sizeof(cause), "%s is exported over NFS (%s)", text_shown(path), check->exports_file);
    tell(check, "nfs-export", show_inside(check, check->relative_path, subject, sizeof(subject)),
         "take it out of /etc/exports and run exportfs -ra, then run the same command again", cause);
    return OK;
}

static enum error_code check_exports_file(struct check *check, const char *path, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = file_read(AT_FDCWD, path, 4 << 20, &text, reterr);
    if (code == ERR_NOT_FOUND)
        return OK;
    check->exports_file = path;
    if (!code)
        code = exports_parse(text.data, check_export, check, reterr);
    check->exports_file = NULL;
    return code;
}

/* /etc/exports.d/NAME.exports, as exportfs reads them. */
static enum error_code check_exports_directory(struct check *check, struct error *reterr)
{
    DIR *stream = opendir("/etc/exports.d");
    if (!stream)
        return OK;
    enum error_code code = OK;
    const struct dirent *entry;
    while (!code && (entry = readdir(stream))) {
        const char *end = strrchr(entry->d_name, '.');
        if (entry->d_name[0] == '.' || !end || strcmp(end, ".exports"))
            continue;
        char path[NAME_MAX + 32];
        snprintf(path, sizeof(path), "/etc/exports.d/%s", entry->d_name);
        code = check_exports_file(check, path, reterr);
    }
    closedir(stream);
    return code;
}

static enum error_code check_exports(struct check *check, struct error *reterr)
{
    static const char *const files[] = {"/etc/exports", "/var/lib/nfs/etab", "/proc/fs/nfsd/exports"};
    enum error_code code = OK;
    for (size_t i = 0; i < ARRAY_SIZE(files) && !code; i++)
        code = check_exports_file(check, files[i], reterr);
    return code ? code : check_exports_directory(check, reterr);
}

/* Root sees every process; under a security module or in a container that may be otherwise. */
static void tell_hidden(struct check *check, const struct mount_views *views)
{
    if (views->hidden == 0)
        return;
    char subject[TEXT_SHOW_SIZE], name[PROCESS_NAME_SIZE];
    process_name_of(views->hidden_first, name);
    finding_add(
        check->findings, FINDING_TELLS, "hidden-processes",
        show_inside(check, check->relative_path, subject, sizeof(subject)),
        "run husk as root with all capabilities, outside containers",
        "the kernel does not let us look at %s (pid %d)%s; whether it is used there only shows when it is "
        "converted",
        name, views->hidden_first, views->hidden > 1 ? " and other processes" : "");
}

enum error_code filesystem_check_mounts(const struct filesystem *filesystem, const char *relative_path,
                                        struct finding_list *findings, struct error *reterr)
{
    struct check check = {.filesystem = filesystem, .relative_path = relative_path, .findings = findings};
    struct mount_views views;
    enum error_code code = mount_views_read(&views, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < views.count && !code; i++) {
        check.view = &views.items[i];
        code = check_view(&check, reterr);
    }
    check.view = NULL;
    tell_hidden(&check, &views);
    const struct overlay_visit visit = {.layer = check_layer, .lost = check_lost_layer, .context = &check};
    if (!code)
        code = overlay_layers_each(&views, &visit, reterr);
    mount_views_done(&views);
    return code ? code : check_exports(&check, reterr);
}
