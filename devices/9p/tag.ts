/** A mount tag as the config space has it: 1 to `maxBytes` bytes of UTF-8 without NUL. Throws RangeError for another. */
export function encodeTag(tag: string, maxBytes: number): Uint8Array {
  const bytes = new TextEncoder().encode(tag);
  if (bytes.length === 0 || bytes.length > maxBytes || bytes.includes(0))
    throw new RangeError(`a 9p tag has 1 to ${maxBytes} bytes and no NUL`);
  return bytes;
}
