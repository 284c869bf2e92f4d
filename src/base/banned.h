/*
 * Functions husk does not use, made into errors. Included before every file by the build.
 * Each has a bounded or checked twin in base/.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Some C libraries define these as macros. */
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol atoll gets
#pragma GCC poison asctime ctime gmtime localtime tmpnam mktemp system popen
