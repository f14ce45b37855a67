import { prefixOf } from "@toolyard/service-kit/process/config.ts";

/** The public address at which the client reached this, where it is known beside the Host header. */
export interface Site {
  url: URL | null;
  /** Its path; "" where there is none. */
  prefix: string;
  /** The headers that tell a replica by which protocol and name clients reach it; null: as the Host header says. */
  addressee: readonly string[] | null;
}

/** @param publicUrl As in the configuration; null where there is none. */
export function siteOf(publicUrl: string | null): Site {
  const url = publicUrl === null ? null : URL.parse(publicUrl);
  const addressee = url && ["x-forwarded-proto", url.protocol.slice(0, -1), "x-forwarded-host", url.host];
  return { url, prefix: prefixOf(publicUrl), addressee };
}
