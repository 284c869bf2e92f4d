/* Which kernels husk runs on. Pure. */
#pragma once
#include <stdbool.h>

/* FS_IOC_GET_ENCRYPTION_NONCE is the newest thing husk cannot do without. */
#define KERNEL_LEAST_MAJOR 5
#define KERNEL_LEAST_MINOR 7

/* For a release as uname gives it ("5.10.0-28-amd64"); false for one that cannot be read. */
bool kernel_release_will_do(const char *release);
