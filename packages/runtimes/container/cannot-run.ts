/** So engines word that the command of a container cannot be run, however often it is tried. */
export const CANNOT_RUN =
  /executable file|no such file or directory|exec format error|permission denied|is a directory|no command/i;
