/*
 * How far a long run is, on standard error: on a terminal one line with a bar, rate and time left that is
 * drawn again; otherwise a line when a stage begins and one every ten seconds while it lasts. Functions that
 * a struct report calls may come from any thread.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/report.h"

#define PROGRESS_LINE_SIZE 512
#define PROGRESS_NAME_SIZE 256

/* What a line is made from. */
struct progress_view {
    const char *name; /* of the stage */
    uint64_t files_done, files_total, bytes_done, bytes_total;
    int64_t elapsed_ns;
};

/* How much of it is done, 0 to 1000; -1 where no total is known. */
int progress_permille(const struct progress_view *view);
/* Seconds left at the rate so far; -1 while that would be a guess. */
int64_t progress_seconds_left(const struct progress_view *view);

/* "copying /srv/data: 23,826 files, 553 MiB", for the beginning of a stage. */
void progress_format_begin(char out[PROGRESS_LINE_SIZE], const struct progress_view *view);
/* "copying /srv/data: 45 %, 250 MiB of 553 MiB, 70.1 MiB/s, 4 s left". */
void progress_format_plain(char out[PROGRESS_LINE_SIZE], const struct progress_view *view);
/* The same with a bar, never wider than columns. */
void progress_format_bar(char out[PROGRESS_LINE_SIZE], const struct progress_view *view, size_t columns);

enum progress_style { PROGRESS_PLAIN, PROGRESS_BAR };

struct progress {
    enum progress_style style;
    pthread_mutex_t mutex; /* guards what is written and the members up to the counters */
    char name[PROGRESS_NAME_SIZE];
    bool running;      /* a stage has begun and not ended */
    bool bar_is_shown; /* the terminal's last line is the bar */
    int64_t begun_ns;
    uint64_t files_total, bytes_total;
    _Atomic uint64_t files_done, bytes_done;
    _Atomic int64_t next_ns; /* when to draw or tell again */
};

/* A bar where standard error is a terminal that can redraw a line. */
void progress_begin(struct progress *progress);
void progress_stage(struct progress *progress, const char *name, uint64_t total_files, uint64_t total_bytes);
void progress_advance(struct progress *progress, uint64_t files, uint64_t bytes);
/* Write a line of its own to standard error, the bar gets out of its way. */
void progress_message(struct progress *progress, const char *line);
/* End the stage that is under way, so that other text can follow. */
void progress_end(struct progress *progress);
