/* husk: encrypts directories of a running server in place, and destroys their key. */
#include "command/program.h"

int main(int argc, char **argv)
{
    return program_main(argc, argv);
}
