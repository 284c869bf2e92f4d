/* network.json, set on cards of a network namespace of the target's own, which a boot would trust blindly.
 * Where / is an initramfs name servers would be set: there it does not run. */
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "network/network.h"
#include "target.h"

static char at[] = "/dev/shm/fuzz-network-XXXXXX";
static int husk_fd = -1;

static void make_card(void)
{
    static const char script[] = "ip link add card address 02:00:00:00:00:01 type veth peer name other && "
                                 "ip link set other up";
    int status = -1;
    const pid_t pid = fork();
    if (pid == 0) {
        execlp("sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    must_hold(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* A veth whose addresses the seeds name. Nothing of this machine's network is in the namespace. */
static void prepare(void)
{
    struct statfs root;
    must_hold(statfs("/", &root) == 0 && root.f_type != TMPFS_MAGIC && root.f_type != RAMFS_MAGIC);
    must_hold(unshare(CLONE_NEWNET) == 0);
    make_card();
    must_hold(mkdtemp(at));
    const int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must_hold(at_fd >= 0 && directory_make(at_fd, ".husk", 0700, &husk_fd, NULL) == OK);
    close(at_fd);
}

static void end(void)
{
    unlinkat(husk_fd, "network.json", 0);
    char path[sizeof(at) + 8];
    snprintf(path, sizeof(path), "%s/.husk", at);
    rmdir(path);
    rmdir(at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct network *network = NULL;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    if (husk_fd < 0) {
        prepare();
        atexit(end);
    }
    const int fd = openat(husk_fd, "network.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must_hold(fd >= 0 && file_write_all(fd, data, size, NULL) == OK);
    close(fd);
    (void)!network_compare(at, &findings, NULL);
    must_hold(network_open(&network, NULL) == OK);
    (void)!network_apply(network, at, 0, NULL);
    network_undo(network);
    return 0;
}
