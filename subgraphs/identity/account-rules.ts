import type { Problem } from "@toolyard/service-kit";
import { z } from "zod";

/** 3–64 of letters, digits, `_`, `.` and `-`. */
export const usernameSchema = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{3,64}$/, "must be 3 to 64 letters (a–z), digits, dots, hyphens or underscores");

export const emailSchema = z
  .email("must be an email address, as in ada@example.com")
  .max(254, "must be at most 254 characters long");

/** What is wrong with a password for this user, as the end of a sentence; null when nothing is. */
export function passwordProblem(password: string, username: string): string | null {
  const characters = Array.from(password).length;
  if (characters < 12) return `must have at least 12 characters; it has ${characters}`;
  if (characters > 256) return `must have at most 256 characters; it has ${characters}`;
  if (password.normalize("NFKC").toLowerCase() === username.toLowerCase()) return "must not be the username";
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
  const password = passwordProblem(account.password, account.username);
  return password === null ? problems : [...problems, { path: `${at}.password`, message: password }];
}
