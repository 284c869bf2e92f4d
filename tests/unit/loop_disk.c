#include "loop_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define IMAGE_SIZE ((off_t)64 << 20)

bool run_program(const char *program, ...)
{
    char *arguments[16] = {strdupa(program)};
    va_list list;
    va_start(list, program);
    for (size_t i = 1; i < ARRAY_SIZE(arguments) - 1 && (arguments[i] = va_arg(list, char *)); i++)
        ;
    va_end(list);
    pid_t child = fork();
    if (child == 0) {
        int null_fd = open("/dev/null", O_WRONLY); /* its errors stay to be seen */
        if (null_fd >= 0)
            dup2(null_fd, 1);
        execvp(program, arguments);
        _exit(127);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return child > 0 && status == 0;
}

static bool attach(struct loop_disk *disk, const char *image)
{
    _cleanup_(close_fdp) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    _cleanup_(close_fdp) int image_fd = open(image, O_RDWR | O_CLOEXEC);
    for (int attempt = 0; control >= 0 && image_fd >= 0 && attempt < 64; attempt++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        snprintf(disk->device, sizeof(disk->device), "/dev/loop%d", number);
        _cleanup_(close_fdp) int device = open(disk->device, O_RDWR | O_CLOEXEC);
        if (number >= 0 && device >= 0 && ioctl(device, LOOP_SET_FD, image_fd) == 0)
            return true;
        if (errno != EBUSY) /* another test took it meanwhile */
            break;
    }
    perror("loop device");
    disk->device[0] = '\0';
    return false;
}

static bool mount_it(struct loop_disk *disk, const char *options)
{
    if (mount(disk->device, disk->mount_point, "ext4", 0, options) < 0) {
        perror("mount");
        return false;
    }
    disk->root_fd = open(disk->mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return disk->root_fd >= 0;
}

static bool make_image(struct loop_disk *disk, const char *features)
{
    const char *parent = getenv("HUSK_TEST_SCRATCH");
    snprintf(disk->directory, sizeof(disk->directory), "%s/husk-unit-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(disk->directory)) {
        disk->directory[0] = '\0';
        return false;
    }
    char image[192];
    snprintf(image, sizeof(image), "%s/image", disk->directory);
    snprintf(disk->mount_point, sizeof(disk->mount_point), "%s/mnt", disk->directory);
    _cleanup_(close_fdp) int fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd >= 0 && ftruncate(fd, IMAGE_SIZE) == 0 && mkdir(disk->mount_point, 0700) == 0 &&
           run_program("mkfs.ext4", "-q", "-b", "4096", "-O", features, image, NULL) && attach(disk, image);
}

bool loop_disk_make(struct loop_disk *disk, const char *features, const char *options)
{
    *disk = (struct loop_disk){.root_fd = -1};
    if (make_image(disk, features) && mount_it(disk, options))
        return true;
    loop_disk_remove(disk);
    return false;
}

static void unmount_it(struct loop_disk *disk)
{
    close_fdp(&disk->root_fd);
    for (int attempt = 0; attempt < 20 && umount(disk->mount_point) < 0 && errno == EBUSY; attempt++)
        usleep(50000);
}

bool loop_disk_remount(struct loop_disk *disk, const char *options)
{
    unmount_it(disk);
    return mount_it(disk, options);
}

void loop_disk_remove(struct loop_disk *disk)
{
    if (!disk->directory[0])
        return;
    unmount_it(disk);
    _cleanup_(close_fdp) int device = disk->device[0] ? open(disk->device, O_RDWR | O_CLOEXEC) : -1;
    if (device >= 0 && ioctl(device, LOOP_CLR_FD, 0) < 0)
        perror(disk->device);
    char image[192];
    snprintf(image, sizeof(image), "%s/image", disk->directory);
    unlink(image);
    rmdir(disk->mount_point);
    rmdir(disk->directory);
    *disk = (struct loop_disk){.root_fd = -1};
}
