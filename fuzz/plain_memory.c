/*
 * Secrets on the ordinary heap, in the fuzz targets only (the linker's --wrap): many times faster than a
 * mapping each, and AddressSanitizer then sees every byte too far. That real ones are locked and guarded is
 * what tests/unit/test_secret.c shows.
 */
#include <stddef.h>
#include <stdlib.h>

void *__wrap_sodium_malloc(size_t size);
void __wrap_sodium_free(void *memory);
int __wrap_sodium_mlock(void *memory, size_t size);

void *__wrap_sodium_malloc(size_t size)
{
    return malloc(size);
}

void __wrap_sodium_free(void *memory)
{
    free(memory);
}

int __wrap_sodium_mlock(void *memory, size_t size)
{
    (void)memory;
    (void)size;
    return 0;
}
