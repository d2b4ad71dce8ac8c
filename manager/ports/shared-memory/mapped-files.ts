/**
 * A VMM's memory files, each mapped whole once however many regions lie in it: over vfio-user QEMU cuts one memfd into dozens of maps
 * while firmware runs, and moves them about.
 */
import { fstatSync } from 'node:fs';
import { closeFd, duplicateFd, HostError, SharedMapping, WINDOW_STRIDE_BYTES } from '../../../host/index.js';
import type { MemoryRegion } from '../../../devices/virtio/memory/guest-memory.js';

/** Arrays start this far apart and are twice as long, so a range of up to this size lies in the array of its first byte. */
const ARRAY_STRIDE_BYTES = WINDOW_STRIDE_BYTES / 2;

/** A mapped file. Its users count it; the last one closes it. */
class MappedFile {
  readonly key: string;
  readonly mapping: SharedMapping;
  /** The file itself, for a process that is to take the memory over. */
  readonly fd: number;
  users = 0;
  readonly #arrays: (Uint8Array | undefined)[] = [];

  constructor(key: string, fd: number, endBytes: number) {
    this.key = key;
    this.mapping = new SharedMapping(fd, endBytes);
    this.fd = duplicateFd(fd);
    if (this.fd >= 0) return;
    this.mapping.close();
    throw HostError.from(this.fd, 'fcntl', 'another descriptor of a memory file');
  }

  close(): void {
    closeFd(this.fd);
    this.mapping.close();
  }

  /** The array for a range of the file: always the same one for the same first byte. Undefined where it ends too early. */
  window(offset: number, lengthBytes: number): { bytes: Uint8Array; offset: number } | undefined {
    const index = Math.floor(offset / ARRAY_STRIDE_BYTES);
    const bytes = (this.#arrays[index] ??= this.#array(index * ARRAY_STRIDE_BYTES));
    const start = offset - index * ARRAY_STRIDE_BYTES;
    return start + lengthBytes <= bytes.byteLength ? { bytes, offset: start } : undefined;
  }

  #array(start: number): Uint8Array {
    const lengthBytes = Math.min(WINDOW_STRIDE_BYTES, this.mapping.byteLength - start);
    return this.mapping.window(start, lengthBytes);
  }
}

/** A part of a client's memory file at a guest-physical address. */
export class MappedRegion implements MemoryRegion {
  readonly guestAddress: number;
  readonly sizeBytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly address: number;
  readonly file: MappedFile;
  readonly fileOffset: number;

  constructor(file: MappedFile, fileOffset: number, range: Omit<MemoryRegion, 'address' | 'window'>) {
    this.guestAddress = range.guestAddress;
    this.sizeBytes = range.sizeBytes;
    this.readable = range.readable;
    this.writable = range.writable;
    this.address = file.mapping.address + fileOffset;
    this.file = file;
    this.fileOffset = fileOffset;
  }

  window(offset: number, lengthBytes: number): { bytes: Uint8Array; offset: number } | undefined {
    if (offset < 0 || lengthBytes < 0 || offset + lengthBytes > this.sizeBytes) return undefined;
    return this.file.window(this.fileOffset + offset, lengthBytes);
  }
}

export class MappedFiles {
  readonly #files = new Map<string, MappedFile>();

  /**
   * The file behind `fd`, which stays the caller's to close, for one more user.
   *
   * @param endBytes where the user's range ends in the file
   * @throws HostError EINVAL for a file shorter than that, or what mmap(2) says
   */
  acquire(fd: number, endBytes: number): MappedFile {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    const identity = `${dev}:${ino}`;
    const known = this.#files.get(identity);
    if (known !== undefined && known.mapping.byteLength >= endBytes) {
      known.users++;
      return known;
    }
    // A file that has grown since is mapped anew; regions in the old mapping keep that one.
    const file = new MappedFile(identity, fd, endBytes);
    file.users = 1;
    this.#files.set(identity, file);
    return file;
  }

  /** One user less; the last one's release unmaps the file. @throws HostError when the kernel cannot */
  release(file: MappedFile): void {
    if (--file.users > 0) return;
    if (this.#files.get(file.key) === file) this.#files.delete(file.key);
    file.close();
  }
}
export type { MappedFile };
