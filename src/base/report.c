#include "base/report.h"

#include <stdarg.h>

enum { LINE_SIZE = 1024 };

void report_stage(const struct report *report, uint64_t total_files, uint64_t total_bytes, const char *format,
                  ...)
{
    if (!report || !report->stage)
        return;
    char line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    report->stage(report->context, line, total_files, total_bytes);
}

void report_advance(const struct report *report, uint64_t files, uint64_t bytes)
{
    if (report && report->advance)
        report->advance(report->context, files, bytes);
}

__attribute__((format(printf, 3, 0))) static void tell(void (*function)(void *, const char *), void *context,
                                                       const char *format, va_list arguments)
{
    char line[LINE_SIZE];
    vsnprintf(line, sizeof(line), format, arguments);
    function(context, line);
}

void report_truth(const struct report *report, const char *format, ...)
{
    if (!report || !report->truth)
        return;
    va_list arguments;
    va_start(arguments, format);
    tell(report->truth, report->context, format, arguments);
    va_end(arguments);
}

void report_warning(const struct report *report, const char *format, ...)
{
    if (!report || !report->warning)
        return;
    va_list arguments;
    va_start(arguments, format);
    tell(report->warning, report->context, format, arguments);
    va_end(arguments);
}
