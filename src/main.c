/* argv to cli, nothing else. */
#include "cli/command.h"

int main(int argc, char **argv)
{
        (void)argc;
        return cli_main(argv, environ);
}
