/** Where a second part comes, the buffer that is made has at least this size, which is then all that a body takes beyond twice its bytes. */
const MIN_BYTES = 1_024;
const NOTHING = Buffer.alloc(0);

/**
 * Joins the parts of something received in one buffer that grows: it holds at most twice their bytes, and a kibibyte. A list of parts
 * takes two hundred bytes for each, and its sender decides how many there are.
 */
export class ByteCollector {
  /** The bytes so far in the first `length` bytes. */
  private held: Buffer = NOTHING;
  /** Whether `held` is a part as it came, which others may hold, too. */
  private isPart = false;
  private bytes = 0;

  /** How many bytes have come. */
  get length(): number {
    return this.bytes;
  }

  /** Adds a part, which must stay as it is: while it is the only one it is not copied. */
  add(part: Buffer): void {
    if (this.bytes > 0) return this.copy(part);
    this.held = part;
    this.bytes = part.length;
    this.isPart = true;
  }

  /**
   * Adds the bytes of a buffer that may be used again afterwards, from `start` to `end`.
   * @param expected How many bytes there will be in all, as far as that is known and believed: room is made for them at once.
   */
  copy(part: Buffer, start = 0, end = part.length, expected = 0): void {
    const { held, bytes } = this;
    const length = bytes + end - start;
    if (this.isPart || held.length < length) {
      this.held = Buffer.allocUnsafe(Math.max(length, expected, 2 * bytes, MIN_BYTES));
      held.copy(this.held, 0, 0, bytes);
      this.isPart = false;
    }
    part.copy(this.held, bytes, start, end);
    this.bytes = length;
  }

  /** The bytes so far, which stay. */
  peek(): Buffer {
    return this.held.length === this.bytes ? this.held : this.held.subarray(0, this.bytes);
  }

  /** The bytes so far; it begins anew. */
  take(): Buffer {
    const all = this.peek();
    this.held = NOTHING;
    this.isPart = false;
    this.bytes = 0;
    return all;
  }
}

/** All bytes of a stream. @throws what `tooLong` makes, once more than `maxBytes` have come, and what breaks the stream */
export async function collectBytes(
  source: AsyncIterable<Uint8Array>,
  maxBytes: number,
  tooLong: () => Error,
): Promise<Buffer> {
  const collected = new ByteCollector();
  for await (const { buffer, byteOffset, byteLength } of source) {
    if (collected.length + byteLength > maxBytes) throw tooLong();
    collected.add(Buffer.from(buffer, byteOffset, byteLength));
  }
  return collected.take();
}
