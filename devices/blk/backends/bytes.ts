/** Reading and filling a backend from a program: images that are made in memory, checks of what a guest wrote. */
import { Errno } from '../../errno.js';
import { IoVector } from '../../io-vector.js';
import { PENDING, type BlockBackend, type BlockCompletion } from './block-backend.js';

/** Waits for one call of a backend: 0 or a negative errno. */
export function completed(start: (completion: BlockCompletion) => number): Promise<number> {
  return new Promise((resolve) => {
    const result = start({ complete: resolve });
    if (result !== PENDING) resolve(result);
  });
}

/** Bytes of the disk; `offsetBytes` and `lengthBytes` are whole sectors on it. @throws Error with `errno`, negative */
export async function readBytes(
  backend: BlockBackend,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(lengthBytes);
  if (lengthBytes === 0) return bytes;
  const into = vectorOf(bytes);
  check('read', offsetBytes, await completed((done) => backend.read(offsetBytes, into, done)));
  return bytes;
}

/** Writes whole sectors. With `durable` they are on the medium when this resolves. @throws Error with `errno`, negative */
export async function writeBytes(
  backend: BlockBackend,
  offsetBytes: number,
  bytes: Uint8Array,
  durable = false,
): Promise<void> {
  if (bytes.length === 0) return;
  const from = vectorOf(bytes);
  check('write', offsetBytes, await completed((done) => backend.write(offsetBytes, from, durable, done)));
}

function vectorOf(bytes: Uint8Array): IoVector {
  const vector = new IoVector();
  vector.push(bytes, 0, bytes.length, 0);
  return vector;
}

function check(operation: string, offsetBytes: number, result: number): void {
  if (result === 0) return;
  const name = Object.entries(Errno).find(([, number]) => number === -result)?.[0] ?? `errno ${-result}`;
  throw Object.assign(new Error(`cannot ${operation} at byte ${offsetBytes}: ${name}`), { errno: result });
}
