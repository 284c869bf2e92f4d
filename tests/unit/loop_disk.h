/* A real ext4 on a loop device for one test program, mounted, and taken down again. Needs root. */
#pragma once
#include <stdbool.h>

struct loop_disk {
    char directory[128]; /* holds the image and the mount point */
    char mount_point[160];
    char device[32];
    int root_fd; /* the mounted root directory */
};

/* features as for mkfs.ext4 -O ("encrypt", "^encrypt"); options for mount, may be "". False, and nothing left
 * behind, when a step failed; its output went to stderr. */
bool loop_disk_make(struct loop_disk *disk, const char *features, const char *options);

/* Unmount and mount again: keys and cached pages are gone afterwards. */
bool loop_disk_remount(struct loop_disk *disk, const char *options);

/* Accepts a disk that was not made. */
void loop_disk_remove(struct loop_disk *disk);

/* Run a program (NULL-terminated arguments) and wait; true when it exits with 0. */
bool run_program(const char *program, ...) __attribute__((sentinel));
