/**
 * The client's DMA maps (VFIO_USER_DMA_MAP and VFIO_USER_DMA_UNMAP): which guest-physical ranges exist, and which of them are memory
 * that this process can touch. A map without a descriptor (other devices' BARs, for one) is remembered, so that it can be unmapped,
 * but is no memory: a ring or buffer that names it is refused like any other bad address.
 */
import { Errno } from '../../../devices/errno.js';
import type { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { MappedFiles, MappedRegion } from '../shared-memory/mapped-files.js';
import type { DmaMapState } from './port-state.js';
import { VfioDmaMapFlag, VfioUserLimit } from './protocol.js';

const ACCESS_FLAGS = VfioDmaMapFlag.VFIO_DMA_MAP_FLAG_READ | VfioDmaMapFlag.VFIO_DMA_MAP_FLAG_WRITE;

interface DmaMap {
  readonly address: number;
  readonly sizeBytes: number;
  readonly region: MappedRegion | undefined;
}

export class DmaMaps {
  readonly #memory: RegionMemory;
  readonly #files = new MappedFiles();
  /** In the order of their addresses; they never overlap. */
  readonly #maps: DmaMap[] = [];

  constructor(memory: RegionMemory) {
    this.#memory = memory;
  }

  /**
   * Adds a map of `sizeBytes` at `address`, `offset` into the file behind `fd` (-1: not memory for us). `fd` stays the caller's.
   *
   * @returns 0, -EINVAL for flags or bounds that make no sense or a file that is too short, -EEXIST over an existing map, -ENOSPC
   *   beyond the agreed number of maps, or what mmap(2) says
   */
  map(flags: number, offset: number, address: number, sizeBytes: number, fd: number): number {
    if ((flags & ~ACCESS_FLAGS) !== 0 || (flags & ACCESS_FLAGS) === 0) return -Errno.EINVAL;
    if (!isPageRange(address, sizeBytes) || !isPageRange(offset, sizeBytes)) return -Errno.EINVAL;
    const at = this.#lowerBound(address);
    if (this.#overlaps(at, address, sizeBytes)) return -Errno.EEXIST;
    if (this.#maps.length >= VfioUserLimit.MAX_DMA_MAPS) return -Errno.ENOSPC;
    if (fd < 0) {
      this.#maps.splice(at, 0, { address, sizeBytes, region: undefined });
      return 0;
    }
    try {
      const region = this.#createRegion(flags, offset, address, sizeBytes, fd);
      this.#maps.splice(at, 0, { address, sizeBytes, region });
      return 0;
    } catch (error) {
      return -errnoOf(error);
    }
  }

  /** All maps, for a process that is to take them over: as `map` takes them, each with its file (-1 where it has none). */
  get all(): readonly (Omit<DmaMapState, 'fd'> & { readonly fd: number })[] {
    const { VFIO_DMA_MAP_FLAG_READ: READ, VFIO_DMA_MAP_FLAG_WRITE: WRITE } = VfioDmaMapFlag;
    return this.#maps.map(({ address, sizeBytes, region }) => ({
      ...{ address, sizeBytes, offset: region?.fileOffset ?? 0, fd: region?.file.fd ?? -1 },
      flags: region === undefined ? READ : (region.readable ? READ : 0) | (region.writable ? WRITE : 0),
    }));
  }

  get count(): number {
    return this.#maps.length;
  }

  /** What the file is known by in which that address lies; undefined where it is no memory. */
  fileOf(address: number): string | undefined {
    const below = this.#maps.at(this.#lowerBound(address + 1) - 1);
    if (below === undefined || address < below.address || address >= below.address + below.sizeBytes)
      return undefined;
    return below.region?.file.key;
  }

  /** Removes the map with exactly these bounds: 0, or -ENOENT. Its memory is out of reach when this returns. */
  unmap(address: number, sizeBytes: number): number {
    const at = this.#lowerBound(address);
    const found = this.#maps.at(at);
    if (found === undefined || found.address !== address || found.sizeBytes !== sizeBytes)
      return -Errno.ENOENT;
    this.#maps.splice(at, 1);
    if (found.region !== undefined) {
      this.#memory.removeRegion(address, sizeBytes);
      this.#files.release(found.region.file);
    }
    return 0;
  }

  /** Removes every map and lets go of every file. @throws HostError, once all is done, when the kernel could not unmap one */
  unmapAll(): void {
    const maps = this.#maps.splice(0);
    this.#memory.clear();
    let failure: Error | undefined;
    for (const { region } of maps) {
      try {
        if (region !== undefined) this.#files.release(region.file);
      } catch (error) {
        failure ??= error as Error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  #createRegion(flags: number, offset: number, address: number, sizeBytes: number, fd: number): MappedRegion {
    const file = this.#files.acquire(fd, offset + sizeBytes);
    const region = new MappedRegion(file, offset, {
      guestAddress: address,
      sizeBytes,
      readable: (flags & VfioDmaMapFlag.VFIO_DMA_MAP_FLAG_READ) !== 0,
      writable: (flags & VfioDmaMapFlag.VFIO_DMA_MAP_FLAG_WRITE) !== 0,
    });
    const error = this.#memory.addRegion(region);
    if (error === 0) return region;
    this.#files.release(file);
    throw new Error(`a checked DMA map was refused: errno ${-error}`);
  }

  /** The place of the first map at or above `address`. */
  #lowerBound(address: number): number {
    let low = 0;
    let high = this.#maps.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#maps[middle].address < address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #overlaps(at: number, address: number, sizeBytes: number): boolean {
    if (at < this.#maps.length && this.#maps[at].address < address + sizeBytes) return true;
    if (at === 0) return false;
    const below = this.#maps[at - 1];
    return below.address + below.sizeBytes > address;
  }
}

/** Whole pages that end below 2^53, where Numbers stop being exact; what the wire sent may be above. */
function isPageRange(start: number, sizeBytes: number): boolean {
  if (sizeBytes <= 0 || start + sizeBytes > Number.MAX_SAFE_INTEGER) return false;
  return start % VfioUserLimit.DMA_PAGE_SIZE === 0 && sizeBytes % VfioUserLimit.DMA_PAGE_SIZE === 0;
}

/** The errno of a system call that failed on the client's descriptor; any other exception is a bug, for the caller to report. */
function errnoOf(error: unknown): number {
  const { code } = error as { code?: unknown };
  if (typeof code !== 'string') throw error;
  return code in Errno ? Errno[code as keyof typeof Errno] : Errno.EINVAL;
}
