/* Numbers as people read them. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define AMOUNT_SIZE 32

/* "512 B", "9.8 KiB", "553 MiB": at least three digits where there are any, binary units. Returns out. */
const char *amount_bytes(char out[AMOUNT_SIZE], uint64_t bytes);
/* "23,826". Returns out. */
const char *amount_count(char out[AMOUNT_SIZE], uint64_t count);
/* "8 s", "4:05", "2:04:05" for seconds. Returns out. */
const char *amount_seconds(char out[AMOUNT_SIZE], uint64_t seconds);

#define amount_bytes_shown(bytes) amount_bytes((char[AMOUNT_SIZE]){0}, (bytes))
#define amount_count_shown(count) amount_count((char[AMOUNT_SIZE]){0}, (count))
#define amount_seconds_shown(seconds) amount_seconds((char[AMOUNT_SIZE]){0}, (seconds))
