#include "base/fault.h"
#include <stdio.h>
static void p(const char *name, void *c) { (void)c; puts(name); }
int main(void) { fault_list(p, NULL); return 0; }
