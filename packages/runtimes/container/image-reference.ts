/** Docker's own registry, which names without one mean; also under this name in files of credentials. */
export const DEFAULT_REGISTRY = "docker.io";

export interface ImageReference {
  /** As the engine is asked for it: with a tag or a digest. */
  name: string;
  registry: string;
}

/**
 * The image that a launch names. A short name, whose first part is no host, is of `registry`, which may have a path; where that is null, the engine
 * completes it. Without a tag or digest it is `latest`, since engines take it for all tags.
 */
export function imageReference(image: string, registry: string | null): ImageReference {
  const [first = "", ...rest] = image.split("/");
  const isShort = rest.length === 0 || !(first === "localhost" || /[.:]/.test(first));
  const whole = isShort && registry !== null ? `${registry}/${image}` : image;
  const host = isShort ? (registry?.split("/")[0] ?? DEFAULT_REGISTRY) : first;
  const isPinned = /@|:[^/]*$/.test(whole.slice(whole.lastIndexOf("/") + 1));
  return { name: isPinned ? whole : `${whole}:latest`, registry: host };
}
