import { describe, expect, it } from 'vitest';
import { fatVolume, type FatFolder } from '../../../../devices/blk/fat/fat-volume.js';
import { pattern } from '../support/vectors.js';

interface Found {
  readonly name: string;
  readonly attributes: number;
  readonly bytes: Buffer;
}

/** Reads a volume as its specification says, with numbers of its own. */
class Reader {
  readonly #image: Buffer;

  constructor(image: Uint8Array) {
    this.#image = Buffer.from(image);
  }

  /** What is in the root directory, or in a folder's bytes. */
  list(directory = this.#root()): Found[] {
    const found: Found[] = [];
    let long = '';
    for (let at = 0; at < directory.length && directory[at] !== 0; at += 32) {
      const entry = directory.subarray(at, at + 32);
      if (entry[11] === 0x0f) {
        long = longPart(entry) + long;
        continue;
      }
      const name = long.split('\0')[0] || shortName(entry);
      if (long !== '') expect(checksumsBefore(directory, at)).toEqual([checksum(entry.subarray(0, 11))]);
      long = '';
      found.push({ name, attributes: entry[11], bytes: this.#read(entry) });
    }
    return found;
  }

  get #clusterBytes(): number {
    return this.#image[13] * 512;
  }

  get #fatSectors(): number {
    return this.#image.readUInt16LE(22);
  }

  get #rootStart(): number {
    return (1 + this.#image[16] * this.#fatSectors) * 512;
  }

  #root(): Buffer {
    return this.#image.subarray(this.#rootStart, this.#rootStart + this.#image.readUInt16LE(17) * 32);
  }

  #read(entry: Buffer): Buffer {
    const size = entry.readUInt32LE(28);
    const data = this.#rootStart + this.#image.readUInt16LE(17) * 32;
    const parts: Buffer[] = [];
    for (
      let cluster = entry.readUInt16LE(26);
      cluster > 1 && cluster < 0xff8;
      cluster = this.#next(cluster)
    ) {
      const start = data + (cluster - 2) * this.#clusterBytes;
      parts.push(this.#image.subarray(start, start + this.#clusterBytes));
    }
    const all = Buffer.concat(parts);
    return entry[11] === 0x10 ? all : all.subarray(0, size);
  }

  /** Both tables have to say the same. */
  #next(cluster: number): number {
    const [first, second] = [0, 1].map((fat) => {
      const pair = this.#image.readUInt16LE((1 + fat * this.#fatSectors) * 512 + ((cluster * 3) >> 1));
      return cluster % 2 === 0 ? pair & 0xfff : pair >> 4;
    });
    expect(second).toBe(first);
    return first;
  }
}

function longPart(entry: Buffer): string {
  const bytes = [entry.subarray(1, 11), entry.subarray(14, 26), entry.subarray(28, 32)];
  return Buffer.concat(bytes).toString('utf16le');
}

function shortName(entry: Buffer): string {
  const [name, extension] = [entry.toString('latin1', 0, 8), entry.toString('latin1', 8, 11)];
  if (entry[11] === 0x08) return (name + extension).trimEnd();
  return `${name.trimEnd()}.${extension.trimEnd()}`
    .replace(/(?<=[^.])\.$/, '')
    .replace(/^\.+$/, name.trimEnd());
}

function checksum(short: Buffer): number {
  return short.reduce((sum, byte) => (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff, 0);
}

/** Those of the long entries right before a short one, each once. */
function checksumsBefore(directory: Buffer, at: number): number[] {
  const sums = new Set<number>();
  for (let i = at - 32; i >= 0 && directory[i + 11] === 0x0f; i -= 32) sums.add(directory[i + 13]);
  return [...sums];
}

const KIB = 1024;

describe('a FAT volume', () => {
  it('has its files under their names, short and long, with their contents', () => {
    const files: FatFolder = {
      'user-data': pattern(70_000, 1),
      'meta-data': pattern(511, 2),
      'A.B': pattern(512, 3),
      'a name that is longer than any one entry holds.txt': pattern(4097, 4),
      EMPTY: new Uint8Array(0),
    };
    const found = new Reader(fatVolume({ sizeBytes: 256 * KIB, label: 'CIDATA', files })).list();
    const [label, ...rest] = found;
    expect(label).toMatchObject({ name: 'CIDATA', attributes: 0x08 });
    expect(rest.map(({ name }) => name)).toEqual(Object.keys(files));
    for (const { name, bytes } of rest) expect(bytes.equals(files[name] as Uint8Array), name).toBe(true);
  });

  it('has folders, which know themselves and their parent', () => {
    const files = { EFI: { BOOT: { 'BOOTX64.EFI': pattern(3000, 1) } } };
    const reader = new Reader(fatVolume({ sizeBytes: 32 * KIB, label: 'BOOT', files }));
    const [, efi] = reader.list();
    expect(efi).toMatchObject({ name: 'EFI', attributes: 0x10 });
    const [self, parent, boot] = reader.list(efi.bytes);
    expect([self.name, parent.name, boot.name]).toEqual(['.', '..', 'BOOT']);
    expect(self.bytes.equals(efi.bytes)).toBe(true);
    const inBoot = reader.list(boot.bytes);
    expect(inBoot.map(({ name }) => name)).toEqual(['.', '..', 'BOOTX64.EFI']);
    expect(inBoot[1].bytes.equals(efi.bytes)).toBe(true);
    expect(inBoot[2].bytes.equals(pattern(3000, 1))).toBe(true);
  });

  it('tells long names apart by their short forms, too', () => {
    const names = ['user-data.yaml', 'user-data.json', 'user-data.text'];
    const files = Object.fromEntries(names.map((name) => [name, new Uint8Array(1)]));
    const image = Buffer.from(fatVolume({ sizeBytes: 64 * KIB, label: 'X', files }));
    const aliases = [...image.toString('latin1').matchAll(/USER-D~\d +/g)].map(([alias]) => alias);
    expect(new Set(aliases).size).toBe(3);
  });

  it.each([32 * KIB, 64 * KIB, 2 * 1024 * KIB, 31 * 1024 * KIB])(
    'of %i bytes is full when its last cluster is, and has no room for a byte more',
    (sizeBytes) => {
      const make = (length: number) =>
        fatVolume({ sizeBytes, label: 'FULL', files: { F: new Uint8Array(length).fill(7) } });
      const empty = Buffer.from(make(0));
      const sectors = sizeBytes / 512;
      const dataSectors = sectors - 1 - 2 * empty.readUInt16LE(22) - 32;
      const clusters = Math.floor(dataSectors / empty[13]);
      expect(clusters).toBeLessThan(4085);
      // The table has a place for each of them.
      expect(empty.readUInt16LE(22) * 512).toBeGreaterThanOrEqual(((clusters + 2) * 3) / 2);
      const full = clusters * empty[13] * 512;
      const [, file] = new Reader(make(full)).list();
      expect(file.bytes.equals(Buffer.alloc(full, 7))).toBe(true);
      expect(() => make(full + 1)).toThrow(/do not fit/);
    },
  );

  it.each([
    ['no whole number of sectors', 1000],
    ['no room for a file', 8 * KIB],
    ['more than FAT12 can hold', 64 * 1024 * KIB],
  ])('refuses a size with %s', (_what, sizeBytes) => {
    expect(() => fatVolume({ sizeBytes, label: 'X', files: {} })).toThrow(RangeError);
  });

  it('refuses more files than its root directory has entries for', () => {
    const files = Object.fromEntries(Array.from({ length: 512 }, (_, i) => [`F${i}`, new Uint8Array(0)]));
    expect(() => fatVolume({ sizeBytes: 64 * KIB, label: 'X', files })).toThrow(/root directory is full/);
  });
});
