import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { ToolyardError, badInput } from "@toolyard/service-kit";
import { MAX_PASSWORD_CHARACTERS, isTooLongForPassword } from "./account-rules.ts";

/**
 * argon2id (RFC 9106) with the smallest parameters that OWASP's Password Storage Cheat Sheet recommends. It takes about 20 ms of one
 * core.
 */
const CURRENT = { memory: 19 * 1024, passes: 2, parallelism: 1 };
const SALT_BYTES = 16;
const TAG_BYTES = 32;
/** The highest cost of verifying a hash from elsewhere. */
const MAX_MEMORY_KIB = 256 * 1024;
const MAX_PASSES = 16;

/** At once: more would keep the thread pool from files and name look-ups, and each takes memory. */
const MAX_RUNNING = 2;
/** Waiting at once: about a second of work. */
const MAX_WAITING = 64;
/** Of them for new accounts, so that registrations never keep existing users from logging in. */
const MAX_NEW_RUNNING = 1;
const MAX_NEW_WAITING = 16;

const argon2Async = promisify(argon2);

/** Hashes and verifies passwords off the event loop, a bounded number at a time. */
export interface PasswordHasher {
  /**
   * A PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$tag`.
   * @param lane `new-account` waits behind all work for existing accounts.
   * @throws ToolyardError BAD_USER_INPUT when it is too long, RATE_LIMITED when too many wait.
   */
  hash(password: string, lane?: Lane): Promise<string>;
  /**
   * Whether the password matches the hash. A password over the maximum length answers false at once. A `null` hash stands for a user that
   * does not exist: it takes the same time and answers false. @throws ToolyardError RATE_LIMITED when too many wait.
   */
  verify(password: string, encoded: string | null): Promise<boolean>;
}

type Lane = "account" | "new-account";

export function createPasswordHasher(options: { maxRunning?: number; maxWaiting?: number } = {}): PasswordHasher {
  const { maxRunning = MAX_RUNNING, maxWaiting = MAX_WAITING } = options;
  const lanes = {
    account: { maxRunning, maxWaiting, running: 0, waiting: [] as (() => void)[] },
    "new-account": {
      maxRunning: Math.min(MAX_NEW_RUNNING, maxRunning),
      maxWaiting: Math.min(MAX_NEW_WAITING, maxWaiting),
      running: 0,
      waiting: [] as (() => void)[],
    },
  };

  /** Lets run what may: of the lanes, users' own first. */
  function proceed(): void {
    for (const lane of [lanes.account, lanes["new-account"]]) {
      while (
        lane.waiting.length > 0 &&
        lane.running < lane.maxRunning &&
        lanes.account.running + lanes["new-account"].running < maxRunning
      ) {
        lane.running += 1;
        lane.waiting.shift()?.();
      }
    }
  }

  async function derive(
    password: string,
    { salt, ...cost }: { memory: number; passes: number; parallelism: number; salt: Buffer; tagLength: number },
    which: Lane,
  ): Promise<Buffer> {
    const lane = lanes[which];
    await new Promise<void>((resolve, reject) => {
      lane.waiting.push(resolve);
      proceed();
      if (lane.waiting.length <= lane.maxWaiting) return;
      lane.waiting.pop();
      reject(
        new ToolyardError("RATE_LIMITED", "Too many people log in at this moment. Try again in a second.", {
          retryAfterSeconds: 1,
        }),
      );
    });
    try {
      // The same characters typed on another keyboard are the same password (NIST SP 800-63B, 3.1.1.2).
      return await argon2Async("argon2id", { ...cost, message: password.normalize("NFKC"), nonce: salt });
    } finally {
      lane.running -= 1;
      proceed();
    }
  }

  return {
    async hash(password, lane = "account") {
      // Checked here, on every path that takes a password: the cost of normalizing grows with the square of the length.
      if (isTooLongForPassword(password)) {
        const message = `A password has at most ${MAX_PASSWORD_CHARACTERS} characters.`;
        throw badInput([{ path: "", message }]);
      }
      const salt = randomBytes(SALT_BYTES);
      return encode(salt, await derive(password, { ...CURRENT, salt, tagLength: TAG_BYTES }, lane));
    },
    async verify(password, encoded) {
      if (isTooLongForPassword(password)) return false;
      // A random tag instead of a real hash: nothing matches it, and it costs nothing to make.
      const { tag, ...parameters } =
        encoded === null ? { ...CURRENT, salt: randomBytes(SALT_BYTES), tag: randomBytes(TAG_BYTES) } : decode(encoded);
      const derived = await derive(password, { ...parameters, tagLength: tag.length }, "account");
      return timingSafeEqual(derived, tag) && encoded !== null;
    },
  };
}

function encode(salt: Buffer, tag: Buffer): string {
  const { memory, passes, parallelism } = CURRENT;
  return `$argon2id$v=19$m=${memory},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(tag)}`;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}

const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})$/;

function decode(encoded: string) {
  const match = PHC.exec(encoded);
  if (!match) throw new Error("A stored password hash is not argon2id in PHC format.");
  const [, memory, passes, parallelism, salt = "", tag = ""] = match;
  const parameters = {
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, "base64"),
    tag: Buffer.from(tag, "base64"),
  };
  if (parameters.memory > MAX_MEMORY_KIB || parameters.passes > MAX_PASSES) {
    throw new Error("A stored password hash asks for more memory or passes than this version allows.");
  }
  return parameters;
}
