import type { Writable } from 'node:stream';

/** Resolves once the stream has room for more. @throws Error where nobody reads it any more */
export function writeFully(stream: Writable, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
