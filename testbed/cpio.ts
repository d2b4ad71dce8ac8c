/** One member of an archive. Paths are relative, without a leading slash; folders are listed before what is in them. */
export type CpioEntry =
  | { readonly kind: 'folder'; readonly path: string; readonly mode: number }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly bytes: Uint8Array }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

const FileType = { S_IFDIR: 0o040000, S_IFREG: 0o100000, S_IFLNK: 0o120000 } as const;

const magic = '070701';
const trailerName = 'TRAILER!!!';

/**
 * Writes an archive in the "newc" format that Linux unpacks as its first root file system
 * (Documentation/driver-api/early-userspace/buffer-format.rst).
 */
export function writeCpio(entries: Iterable<CpioEntry>): Buffer {
  const parts: Uint8Array[] = [];
  let inode = 1;
  for (const entry of entries) {
    const [mode, body] = modeAndBody(entry);
    parts.push(...member(entry.path, inode++, mode, body));
  }
  parts.push(...member(trailerName, 0, 0, new Uint8Array()));
  return Buffer.concat(parts);
}

function modeAndBody(entry: CpioEntry): [number, Uint8Array] {
  if (entry.kind === 'folder') return [FileType.S_IFDIR | entry.mode, new Uint8Array()];
  if (entry.kind === 'link') return [FileType.S_IFLNK | 0o777, Buffer.from(entry.target)];
  return [FileType.S_IFREG | entry.mode, entry.bytes];
}

/**
 * magic[6], then 13 fields of 8 hexadecimal digits: ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
 * namesize check; then the name with its NUL, and the body, each padded to a multiple of 4 bytes.
 */
function member(path: string, inode: number, mode: number, body: Uint8Array): Uint8Array[] {
  const name = Buffer.from(`${path}\0`);
  const fields = [inode, mode, 0, 0, 1, 0, body.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(
    magic + fields.map((field) => field.toString(16).padStart(8, '0')).join(''),
    'latin1',
  );
  return [header, name, padding(header.length + name.length), body, padding(body.length)];
}

function padding(lengthBytes: number): Uint8Array {
  return new Uint8Array(-lengthBytes & 3);
}
