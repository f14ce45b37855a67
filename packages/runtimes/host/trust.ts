import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { getCACertificates } from "node:tls";

/** Issuers of certificates that replicas trust besides those that they would trust anyway. */
export interface Trust {
  /** By names of files: certificates in PEM. No secrets. */
  files: Readonly<Record<string, string>>;
  /** By them programs find the files, in a folder. */
  variablesIn(folder: string): Record<string, string>;
}

/** Name a file of certificates that a program trusts, too. */
const ADDING = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];
/** Name a file of all certificates that a program trusts: of OpenSSL, Go, uv, requests, pip, curl, Git. */
const REPLACING = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"];
const [EXTRA, ALL] = ["extra-ca.pem", "all-ca.pem"];

/** The certificates of a text in PEM; null: there is none, or one cannot be read. */
export function certificatesIn(text: string): string[] | null {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----/gs);
  try {
    return blocks?.map((block) => new X509Certificate(block).toString().trim()) ?? null;
  } catch {
    return null; // No certificate of X.509.
  }
}

/** `certificates` beside those of this host's system, or of Node where the system has none, and of its NODE_EXTRA_CA_CERTS. */
export function createTrust(certificates: readonly string[]): Trust {
  const own = getCACertificates("system");
  const extra = new Set([...certificates, ...certificatesOf(getCACertificates("extra"))]);
  const all = new Set([...extra, ...certificatesOf(own.length > 0 ? own : getCACertificates("bundled"))]);
  const text = (of: ReadonlySet<string>): string => `${[...of].join("\n")}\n`;
  return {
    files: { [EXTRA]: text(extra), [ALL]: text(all) },
    variablesIn: (folder) =>
      Object.fromEntries([
        ...ADDING.map((name) => [name, join(folder, EXTRA)]),
        ...REPLACING.map((name) => [name, join(folder, ALL)]),
      ]),
  };
}

const certificatesOf = (pem: readonly string[]): string[] => pem.map((each) => each.trim());
