import { isPlaceholdersAlone } from "@toolyard/launch/placeholders.ts";

/** Whether a value is made of placeholders alone, perhaps after a scheme such as `Bearer`. */
export function isPlaceholder(value: string): boolean {
  return isPlaceholdersAlone(value.trim().replace(/^(?:Bearer|Basic|Token)\s+/i, ""));
}

const SECRET_NAME =
  /(?:^|[_.-])(?:key|token|secret|password|passwd|pwd|credential|credentials|apikey|auth|authorization|dsn|cookie)(?:$|[_.-])/i;

/** Whether a variable of this name usually holds a secret. */
export function looksSecret(name: string): boolean {
  return SECRET_NAME.test(name.replaceAll(/([a-z])([A-Z])/g, "$1_$2")) || /(?:apikey|accesskey|authtoken)/i.test(name);
}
