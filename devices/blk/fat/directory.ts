/** Directories of a FAT volume (Microsoft's FAT specification 1.03, "FAT Directory Structure"): entries of 32 bytes, long names before short ones. */

export const ENTRY_BYTES = 32;
export const ATTR_VOLUME_ID = 0x08;
export const ATTR_DIRECTORY = 0x10;
export const ATTR_ARCHIVE = 0x20;
const ATTR_LONG_NAME = 0x0f;
const LAST_LONG_ENTRY = 0x40;
/** UTF-16 units of one long entry, and where in it they are. */
const LONG_NAME_OFFSETS = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30] as const;
/** The first day that there is: 1 January 1980. */
const FIRST_DATE = 0x0021;

export interface DirectoryEntry {
  /** As whoever reads the volume sees it: printable ASCII. */
  readonly name: string;
  readonly attributes: number;
  /** 0 for what has no contents. */
  readonly cluster: number;
  readonly sizeBytes: number;
}

/** The entries that one name takes. `number` tells short forms of one directory's long names apart. */
export function encodeEntry(entry: DirectoryEntry, number: number): Uint8Array {
  const plain = entry.attributes === ATTR_VOLUME_ID || entry.name.startsWith('.');
  const short = plain ? entry.name.padEnd(11) : shortName(entry.name);
  if (short !== undefined) return shortEntry(entry, short);
  const alias = aliasOf(entry.name, number);
  return Uint8Array.from([...longEntries(entry.name, checksum(alias)), ...shortEntry(entry, alias)]);
}

/** 8 characters and 3, padded; undefined for a name that is not exactly that of a short entry. */
function shortName(name: string): string | undefined {
  const match = /^([A-Z0-9_-]{1,8})(?:\.([A-Z0-9_-]{1,3}))?$/.exec(name);
  return match ? match[1].padEnd(8) + (match[2] ?? '').padEnd(3) : undefined;
}

function aliasOf(name: string, number: number): string {
  const tail = `~${number}`;
  const start = name.toUpperCase().replace(/[^A-Z0-9_-]/g, '');
  return (start.slice(0, 8 - tail.length) + tail).padEnd(11);
}

/** By which a long name is known to belong to the short entry behind it. */
function checksum(short: string): number {
  let sum = 0;
  for (let i = 0; i < short.length; i++) sum = ((sum >> 1) + ((sum & 1) << 7) + short.charCodeAt(i)) & 0xff;
  return sum;
}

/** The last part of the name comes first. */
function longEntries(name: string, sum: number): number[] {
  const perEntry = LONG_NAME_OFFSETS.length;
  const count = Math.ceil(name.length / perEntry);
  return Array.from({ length: count }, (_, i) => {
    const ordinal = count - i;
    const view = new DataView(new ArrayBuffer(ENTRY_BYTES));
    view.setUint8(0, ordinal | (i === 0 ? LAST_LONG_ENTRY : 0));
    view.setUint8(11, ATTR_LONG_NAME);
    view.setUint8(13, sum);
    LONG_NAME_OFFSETS.forEach((at, j) => {
      const position = (ordinal - 1) * perEntry + j;
      // A name that does not fill its entry ends with a NUL, and then there are only ones.
      const filler = position === name.length ? 0 : 0xffff;
      view.setUint16(at, position < name.length ? name.charCodeAt(position) : filler, true);
    });
    return [...new Uint8Array(view.buffer)];
  }).flat();
}

function shortEntry({ attributes, cluster, sizeBytes }: DirectoryEntry, short: string): Uint8Array {
  const view = new DataView(new ArrayBuffer(ENTRY_BYTES));
  for (let i = 0; i < short.length; i++) view.setUint8(i, short.charCodeAt(i));
  view.setUint8(11, attributes);
  for (const date of [16, 18, 24]) view.setUint16(date, FIRST_DATE, true);
  view.setUint16(26, cluster, true);
  view.setUint32(28, sizeBytes, true);
  return new Uint8Array(view.buffer);
}
