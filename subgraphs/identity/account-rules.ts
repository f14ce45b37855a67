import type { Problem } from "@toolyard/service-kit";
import { z } from "zod";
import { isGuessable } from "./guessable-password.ts";

/** 3–64 of letters, digits, `_`, `.` and `-`. */
export const usernameSchema = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{3,64}$/, "must be 3 to 64 letters (a–z), digits, dots, hyphens or underscores");

const MAX_EMAIL_LENGTH = 254;
const emailSchema = z
  .string()
  // Before anything looks for the parts of an address in it.
  .max(MAX_EMAIL_LENGTH, { error: `must be at most ${MAX_EMAIL_LENGTH} characters long`, abort: true })
  .pipe(z.email("must be an email address, as in ada@example.com"));

const MIN_PASSWORD_CHARACTERS = 12;
export const MAX_PASSWORD_CHARACTERS = 256;

/** Whether a text has more code points than a password may have. Takes no longer for a longer text. */
export function isTooLongForPassword(text: string): boolean {
  // A code point is one or two code units.
  return text.length > 2 * MAX_PASSWORD_CHARACTERS || Array.from(text).length > MAX_PASSWORD_CHARACTERS;
}

/** Why a password will not do for this user, as the end of a sentence; null when it will. */
export function passwordProblem(password: string, user: { username: string; email?: string | null }): string | null {
  // The length first: all that follows takes longer for a longer text.
  if (isTooLongForPassword(password)) return `must have at most ${MAX_PASSWORD_CHARACTERS} characters`;
  const characters = Array.from(password).length;
  if (characters < MIN_PASSWORD_CHARACTERS)
    return `must have at least ${MIN_PASSWORD_CHARACTERS} characters; it has ${characters}`;
  const username = user.username.slice(0, MAX_PASSWORD_CHARACTERS);
  const email = (user.email ?? "").slice(0, MAX_EMAIL_LENGTH);
  const folded = password.normalize("NFKC").toLowerCase();
  if (folded === username.toLowerCase()) return "must not be the username";
  if (folded === email.toLowerCase()) return "must not be the email address";
  if (isGuessable(password, [username, email.split("@")[0] ?? "", "toolyard"]))
    return "is too easy to guess: it is common, repeated, or made of little else than that and your name. Take a few words that do not belong together";
  return null;
}

/** Everything that is wrong with a new account. `at` goes before each path. */
export function accountProblems(account: { username: string; email: string; password: string }, at: string): Problem[] {
  const checks = { username: usernameSchema, email: emailSchema };
  const problems = Object.entries(checks).flatMap(([field, schema]) => {
    // Both keys are the account's.
    const parsed = schema.safeParse(account[field as keyof typeof checks]);
    return parsed.success
      ? []
      : [{ path: `${at}.${field}`, message: parsed.error.issues[0]?.message ?? "is not valid" }];
  });
  const password = passwordProblem(account.password, account);
  return password === null ? problems : [...problems, { path: `${at}.password`, message: password }];
}
