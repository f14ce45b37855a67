/** A line of what engines tell while they pull. */
export interface PullMessage {
  /** Of a layer. */
  id?: string;
  status?: string;
  progressDetail?: { current?: number; total?: number };
  error?: string;
}

const DONE = /^(?:Pull complete|Download complete|Already exists)/;
const LAYER =
  /^(?:Pulling fs layer|Waiting|Downloading|Verifying|Extracting|Copying|Pull complete|Download complete|Already exists)/;

/** How far a pull is, in a sentence, from the last message on each of its layers. */
export function describePull(name: string, messages: readonly PullMessage[]): string {
  const layers = messages.filter(({ status = "" }) => LAYER.test(status));
  const done = layers.filter(({ status = "" }) => DONE.test(status)).length;
  const sum = (of: "current" | "total") =>
    layers.reduce((bytes, { progressDetail }) => bytes + (progressDetail?.[of] ?? 0), 0);
  const total = sum("total");
  const how = [
    ...(layers.length === 0 ? [] : [`${done} of ${layers.length} layers`]),
    ...(total === 0 ? [] : [`${megabytes(sum("current"))} of ${megabytes(total)} MB`]),
  ];
  return `The image ${name} is being pulled${how.length === 0 ? "" : `: ${how.join(", ")}`}.`;
}

const megabytes = (bytes: number): string => (bytes / 1_000_000).toFixed(bytes < 10_000_000 ? 1 : 0);
