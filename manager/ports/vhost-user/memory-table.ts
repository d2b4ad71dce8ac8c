/**
 * The front-end's memory regions: the guest's memory for the rings and the device, and the way from the front-end's own addresses,
 * by which it names the rings, to guest-physical ones.
 */
import { Errno, errnoOfException } from '../../../devices/errno.js';
import type { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { MappedFiles, MappedRegion } from '../shared-memory/mapped-files.js';
import type { DirtyLog } from './dirty-log.js';
import { VhostUserLimit } from './protocol.js';

/** A memory region as the front-end describes it; sizes and addresses in bytes. */
export interface RegionDescription {
  readonly guestAddress: number;
  readonly sizeBytes: number;
  /** Where the region starts in the front-end's address space. */
  readonly userAddress: number;
  /** Where it starts in its file. */
  readonly mmapOffset: number;
}

interface TableEntry extends RegionDescription {
  readonly region: MappedRegion;
}

export class MemoryTable {
  readonly #memory: RegionMemory;
  readonly #files = new MappedFiles();
  #entries: TableEntry[] = [];
  /** Removed regions that requests under way may still use. */
  #retired: MappedRegion[] = [];
  /** The last change took memory away, or put other memory in its place. */
  tookAway = false;

  constructor(memory: RegionMemory) {
    this.#memory = memory;
  }

  /** The first guest-physical address above all regions. */
  get endAddress(): number {
    return this.#entries.reduce((end, entry) => Math.max(end, endOf(entry)), 0);
  }

  /** All regions, each with its file, for a process that is to take them over. */
  get regions(): readonly (RegionDescription & { readonly fd: number })[] {
    return this.#entries.map(({ region, ...description }) => ({ ...description, fd: region.file.fd }));
  }

  /**
   * Puts these regions in the place of all there were; region i lies in the file behind `fds[i]`, which stays the caller's. A
   * file that is in both tables stays mapped where it is, so that requests under way do not notice.
   *
   * @returns 0, or a negative errno and the table is as before: -EINVAL for regions that make no sense or a file too short for
   *   them, -EEXIST where two overlap, or what mmap(2) says
   */
  replace(
    descriptions: readonly RegionDescription[],
    fds: readonly number[],
    requestsUnderWay: boolean,
  ): number {
    const entries: TableEntry[] = [];
    for (const [i, description] of descriptions.entries()) {
      const entry = this.#map(description, fds[i]);
      if (typeof entry === 'number') return this.#abandon(entries, entry);
      entries.push(entry);
      const overlaps = entries.some((other) => other !== entry && overlap(other, entry));
      if (overlaps) return this.#abandon(entries, -Errno.EEXIST);
    }
    const former = this.#entries;
    this.#entries = entries;
    this.tookAway = !former.every(({ region }) => this.#stillHas(region));
    this.#memory.clear();
    for (const { region } of entries) this.#admit(region);
    for (const { region } of former) this.#letGo(region, requestsUnderWay);
    return 0;
  }

  /** Adds a region. 0, or a negative errno as for `replace`; -ENOSPC where there are as many as may be. */
  add(description: RegionDescription, fd: number): number {
    if (this.#entries.length >= VhostUserLimit.MEM_SLOTS) return -Errno.ENOSPC;
    if (this.#entries.some((other) => overlap(other, description))) return -Errno.EEXIST;
    const entry = this.#map(description, fd);
    if (typeof entry === 'number') return entry;
    this.#entries.push(entry);
    this.tookAway = false;
    this.#admit(entry.region);
    return 0;
  }

  /** Removes the region with these addresses and this size: 0, or -ENOENT. */
  remove({ guestAddress, sizeBytes, userAddress }: RegionDescription, requestsUnderWay: boolean): number {
    const at = this.#entries.findIndex(
      (entry) =>
        entry.guestAddress === guestAddress &&
        entry.sizeBytes === sizeBytes &&
        entry.userAddress === userAddress,
    );
    if (at < 0) return -Errno.ENOENT;
    const [{ region }] = this.#entries.splice(at, 1);
    this.tookAway = true;
    this.#memory.removeRegion(guestAddress, sizeBytes);
    this.#letGo(region, requestsUnderWay);
    return 0;
  }

  /** No request is under way any more: what was kept mapped for them goes. */
  releaseRetired(): void {
    for (const { file } of this.#retired.splice(0)) this.#files.release(file);
  }

  /** Removes every region and unmaps every file. */
  clear(): void {
    const entries = this.#entries;
    this.#entries = [];
    this.#memory.clear();
    for (const { region } of entries) this.#files.release(region.file);
    this.releaseRetired();
  }

  /** The guest-physical address of a range that lies in one region of the front-end's address space; -1 where it does not. */
  guestAddressOf(userAddress: number, lengthBytes: number): number {
    for (const entry of this.#entries) {
      const offset = userAddress - entry.userAddress;
      if (offset >= 0 && offset + lengthBytes <= entry.sizeBytes) return entry.guestAddress + offset;
    }
    return -1;
  }

  /** What the file is known by, while it exists, that an address of the front-end lies in; undefined for no address of it. */
  fileOf(userAddress: number): string | undefined {
    return this.#entries.find(
      (entry) => userAddress >= entry.userAddress && userAddress < entry.userAddress + entry.sizeBytes,
    )?.region.file.key;
  }

  /**
   * Marks what was written at `address` in this process, wherever the guest sees it: a file's page may lie in two regions, and a
   * region that is gone may come back where it was.
   */
  markWritten(log: DirtyLog, address: number, lengthBytes: number): void {
    for (const { region } of this.#entries) markOverlap(log, region, address, lengthBytes);
    for (const region of this.#retired) markOverlap(log, region, address, lengthBytes);
  }

  /** Whether all of a region is there, maybe in pieces: the same bytes of the same file. */
  #stillHas({ file, fileOffset, guestAddress, sizeBytes }: MappedRegion): boolean {
    const isPart = ({ region: other }: TableEntry, at: number): boolean =>
      other.file.key === file.key &&
      other.fileOffset - other.guestAddress === fileOffset - guestAddress &&
      other.guestAddress <= at &&
      at < other.guestAddress + other.sizeBytes;
    for (let at = guestAddress; at < guestAddress + sizeBytes;) {
      const entry = this.#entries.find((each) => isPart(each, at));
      if (entry === undefined) return false;
      at = endOf(entry);
    }
    return true;
  }

  /** Maps what a description names, for one more user; a negative errno where that cannot be. */
  #map(description: RegionDescription, fd: number): TableEntry | number {
    const { guestAddress, sizeBytes, userAddress, mmapOffset } = description;
    if (sizeBytes <= 0) return -Errno.EINVAL;
    // What the wire sent may lie beyond 2^53, where Numbers stop being exact.
    for (const start of [guestAddress, userAddress, mmapOffset])
      if (start + sizeBytes > Number.MAX_SAFE_INTEGER) return -Errno.EINVAL;
    try {
      const file = this.#files.acquire(fd, mmapOffset + sizeBytes);
      const bounds = { guestAddress, sizeBytes, readable: true, writable: true };
      return { ...description, region: new MappedRegion(file, mmapOffset, bounds) };
    } catch (error) {
      return -errnoOfException(error);
    }
  }

  #abandon(entries: readonly TableEntry[], error: number): number {
    for (const { region } of entries) this.#files.release(region.file);
    return error;
  }

  #admit(region: MappedRegion): void {
    const error = this.#memory.addRegion(region);
    if (error !== 0) throw new Error(`a checked memory region was refused: errno ${-error}`);
  }

  /**
   * A region is gone, but a front-end that moves its memory about removes regions and adds them again, and what a request
   * writes meanwhile has to be in the guest's memory. So its file stays mapped as long as requests are under way. A
   * front-end that changes files without end must not fill our address space: beyond a number the file goes at once, and late
   * I/O lands in anonymous memory (see SharedMapping).
   */
  #letGo(region: MappedRegion, requestsUnderWay: boolean): void {
    const known = this.#retired.some((other) => isSame(other, region));
    if (requestsUnderWay && !known && this.#retired.length < VhostUserLimit.MEM_SLOTS)
      this.#retired.push(region);
    else this.#files.release(region.file);
  }
}

function isSame(a: MappedRegion, b: MappedRegion): boolean {
  return a.address === b.address && a.guestAddress === b.guestAddress && a.sizeBytes === b.sizeBytes;
}

function markOverlap(log: DirtyLog, region: MappedRegion, address: number, lengthBytes: number): void {
  const start = Math.max(address, region.address);
  const end = Math.min(address + lengthBytes, region.address + region.sizeBytes);
  if (start < end) log.mark(region.guestAddress + start - region.address, end - start);
}

function endOf({ guestAddress, sizeBytes }: RegionDescription): number {
  return guestAddress + sizeBytes;
}

function overlap(a: RegionDescription, b: RegionDescription): boolean {
  return a.guestAddress < endOf(b) && b.guestAddress < endOf(a);
}
