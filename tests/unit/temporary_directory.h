/* A directory of its own for each test of a file that says in_directory(test). */
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "unit.h"

static char path[64];
static int directory_fd;

static enum error_code remove_entry(const char *name, void *context, struct error *reterr)
{
    (void)context;
    (void)reterr;
    if (unlinkat(directory_fd, name, 0) < 0)
        assert_int_equal(unlinkat(directory_fd, name, AT_REMOVEDIR), 0);
    return OK;
}

static int directory_setup(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/husk-unit-XXXXXX");
    if (!mkdtemp(path))
        return -1;
    directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return directory_fd >= 0 ? 0 : -1;
}

static int directory_teardown(void **state)
{
    (void)state;
    assert_ok(directory_list(directory_fd, remove_entry, NULL, &error));
    close(directory_fd);
    return rmdir(path);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, directory_setup, directory_teardown)
