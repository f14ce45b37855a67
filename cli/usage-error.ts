/** A command that was given wrongly: nothing was asked of Toolyard yet. Exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}
