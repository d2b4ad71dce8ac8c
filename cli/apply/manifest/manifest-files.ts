/** Where manifests are: a file, a folder of them, or standard input. */
import { closeSync, openSync, readdirSync, readSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ChassisError } from '../../../manager/control/api.js';
import { MANIFEST_MAX_BYTES } from './document.js';
import { manifestInvalid } from './problems.js';

export const STANDARD_INPUT = '-';
const FILES_MAX = 1000;

export interface ManifestText {
  /** As errors name it. */
  readonly file: string;
  /** Where its relative paths are from. */
  readonly directory: string;
  readonly text: string;
}

/** Whose name it is that manifests without one have; standard input has none. */
export function pathName(path: string): string | undefined {
  return path === STANDARD_INPUT ? undefined : realpathSync(resolve(path));
}

/** The files that a path means, by name. @throws ChassisError SOURCE_MISSING, SOURCE_UNREADABLE, MANIFEST_INVALID */
export function manifestFiles(path: string): string[] {
  if (path === STANDARD_INPUT || !isFolder(path)) return [path];
  const names = readdirSync(path).filter((name) => /^[^.].*\.(ya?ml|json)$/.test(name));
  if (names.length === 0)
    throw new ChassisError('SOURCE_MISSING', `${path} has no manifest`, 'name them *.yaml, *.yml or *.json');
  if (names.length > FILES_MAX)
    throw new ChassisError('MANIFEST_INVALID', `${path} has more than ${FILES_MAX} manifests`);
  return names.sort().map((name) => join(path, name));
}

/** @throws ChassisError SOURCE_UNREADABLE, or as `manifestText` */
export async function readManifestFile(file: string): Promise<ManifestText> {
  const bytes = file === STANDARD_INPUT ? await readInput() : reading(file, () => boundedRead(file));
  const directory = file === STANDARD_INPUT ? process.cwd() : dirname(resolve(file));
  return { file, directory, text: manifestText(file, bytes) };
}

/** @throws ChassisError MANIFEST_INVALID where there is too much, or no UTF-8, with the place */
export function manifestText(file: string, bytes: Uint8Array): string {
  if (bytes.length > MANIFEST_MAX_BYTES)
    throw manifestInvalid([
      {
        ...{ file, line: 1, column: 1, message: `it has more than ${MANIFEST_MAX_BYTES} bytes` },
        suggestion: 'is it a manifest? several files in a folder may be larger together',
      },
    ]);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const message = 'it is no UTF-8 from here on';
    throw manifestInvalid([{ file, ...endOfUtf8(bytes), message, suggestion: 'save it as UTF-8' }]);
  }
}

/** Where the first byte is that cannot be. */
function endOfUtf8(bytes: Uint8Array): { readonly line: number; readonly column: number } {
  // What cannot be is replaced, and so is not the same when it is written again.
  const again = Buffer.from(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes));
  const end = bytes.findIndex((byte, i) => byte !== again[i]);
  const lines = new TextDecoder().decode(bytes.subarray(0, end), { stream: true }).split('\n');
  return { line: lines.length, column: lines[lines.length - 1].length + 1 };
}

/** One byte more than is allowed, at most: it may be a device. */
function boundedRead(file: string): Buffer {
  const fd = openSync(file, 'r');
  try {
    const buffer = Buffer.alloc(MANIFEST_MAX_BYTES + 1);
    let length = 0;
    for (;;) {
      const count = readSync(fd, buffer, length, buffer.length - length, null);
      length += count;
      if (count === 0 || length === buffer.length) return buffer.subarray(0, length);
    }
  } finally {
    closeSync(fd);
  }
}

async function readInput(): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    pieces.push(piece);
    length += piece.length;
    if (length > MANIFEST_MAX_BYTES) break;
  }
  return Buffer.concat(pieces);
}

function isFolder(path: string): boolean {
  return reading(path, () => statSync(path).isDirectory());
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new ChassisError('SOURCE_MISSING', `there is no ${path}`, 'check the spelling of -f');
    throw new ChassisError('SOURCE_UNREADABLE', `cannot read ${path}: ${message}`);
  }
}
