/* The table of commands. */
#include "cli/command.h"

extern const struct command command_serve, command_status, command_ls, command_du, command_rm, command_gc, command_check, command_rebuild,
        command_backup, command_restore, command_export, command_import, command_trust, command_health, command_version, command_help;

const struct command *const commands[] = {
        &command_serve,
        &command_status,
        &command_ls,
        &command_du,
        &command_rm,
        &command_gc,
        &command_check,
        &command_rebuild,
        &command_backup,
        &command_restore,
        &command_export,
        &command_import,
        &command_trust,
        &command_health,
        &command_version,
        &command_help,
        NULL,
};
