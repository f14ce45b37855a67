/** A command used wrongly: no request was sent to Toolyard yet. Exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}
