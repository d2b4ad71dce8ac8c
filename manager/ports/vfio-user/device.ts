/**
 * One PCI function as a vfio-user device: what each command of a connected client does. It lives as long as the function, through
 * any number of clients one after the other, and knows nothing of sockets.
 */
import { Errno } from '../../../devices/errno.js';
import { PciCommand, PciConfig } from '../../../devices/pci/defs.js';
import type { PciFunction } from '../../../devices/pci/function.js';
import type { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { closeFd, type Reactor, type ReceivedFds } from '../../../host/index.js';
import { DmaMaps } from './dma.js';
import { IrqTable } from './irqs.js';
import {
  REGION_ACCESS_BYTES,
  VfioDeviceFlag,
  VfioDmaUnmapFlag,
  VfioPciIrq,
  VfioPciRegion,
  VfioUserCommand,
} from './protocol.js';
import { Regions } from './regions.js';
import type { WireReader, WireWriter } from './wire.js';

/** Sizes of payloads, fixed part only. */
const DMA_MAP_BYTES = 32;
const DMA_UNMAP_BYTES = 24;
const DEVICE_INFO_BYTES = 16;
const REGION_INFO_BYTES = 32;
const REGION_IO_FDS_BYTES = 16;
const IRQ_INFO_BYTES = 16;
const IRQ_SET_BYTES = 20;
const WRITE_MULTI_ENTRY_BYTES = 24;
const WRITE_MULTI_MAX_COUNT = 8;

export class VfioUserDevice {
  readonly irqs: IrqTable;
  readonly dma: DmaMaps;
  readonly #fn: PciFunction;
  readonly #regions: Regions;
  readonly #quiesce: (() => Promise<void> | undefined) | undefined;
  #workDue = false;
  /** Memory was taken away, or the right to it. */
  #mustQuiesce = false;

  /** `quiesce`: see `VfioUserServerOptions`. */
  constructor(
    fn: PciFunction,
    memory: RegionMemory,
    reactor: Reactor,
    quiesce?: () => Promise<void> | undefined,
  ) {
    this.#fn = fn;
    this.#quiesce = quiesce;
    this.#regions = new Regions(fn);
    this.irqs = new IrqTable(fn, reactor);
    this.dma = new DmaMaps(memory);
  }

  /** A client has come. */
  connect(): void {
    this.#fn.connect(this.irqs);
  }

  /** The client is gone: function as at power-on, its memory unmapped and every descriptor of it closed. */
  disconnect(): void {
    this.#workDue = false;
    this.#fn.connect(undefined);
    this.#fn.reset();
    this.irqs.release();
    this.dma.unmapAll();
  }

  /** Does the work that register writes and changes of memory have made possible; call it once those have been answered. */
  afterMessages(): void {
    if (!this.#workDue) return;
    this.#workDue = false;
    this.#fn.afterWrite();
  }

  /** What the answer to the command that was served last has to wait for, if it has: memory is the client's own again once it hears of it. */
  quiet(): Promise<void> | undefined {
    if (!this.#mustQuiesce) return undefined;
    this.#mustQuiesce = false;
    return this.#quiesce?.();
  }

  /**
   * Serves one command of a client whose version is agreed. The reply's payload goes to `reply`; descriptors that are kept are
   * taken from `fds`.
   *
   * @returns 0, or a negative errno for an error reply
   */
  serve(command: number, request: WireReader, fds: ReceivedFds, reply: WireWriter): number {
    if (fds.count > 0 && !acceptsFds(command)) return -Errno.EINVAL;
    switch (command) {
      case VfioUserCommand.VFIO_USER_REGION_WRITE:
        return this.#regionWrite(request, reply);
      case VfioUserCommand.VFIO_USER_REGION_READ:
        return this.#regionRead(request, reply);
      case VfioUserCommand.VFIO_USER_REGION_WRITE_MULTI:
        return this.#regionWriteMulti(request, reply);
      case VfioUserCommand.VFIO_USER_DMA_MAP:
        return this.#dmaMap(request, fds);
      case VfioUserCommand.VFIO_USER_DMA_UNMAP:
        return this.#dmaUnmap(request, reply);
      case VfioUserCommand.VFIO_USER_DEVICE_GET_INFO:
        return this.#getInfo(request, reply);
      case VfioUserCommand.VFIO_USER_DEVICE_GET_REGION_INFO:
        return this.#getRegionInfo(request, reply);
      case VfioUserCommand.VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        return this.#getRegionIoFds(request, reply);
      case VfioUserCommand.VFIO_USER_DEVICE_GET_IRQ_INFO:
        return this.#getIrqInfo(request, reply);
      case VfioUserCommand.VFIO_USER_DEVICE_SET_IRQS:
        return this.#setIrqs(request, fds);
      case VfioUserCommand.VFIO_USER_DEVICE_RESET:
        return this.#reset();
      case VfioUserCommand.VFIO_USER_DIRTY_PAGES:
      case VfioUserCommand.VFIO_USER_DEVICE_FEATURE:
      case VfioUserCommand.VFIO_USER_MIG_DATA_READ:
      case VfioUserCommand.VFIO_USER_MIG_DATA_WRITE:
        return -Errno.EOPNOTSUPP;
      default:
        return -Errno.EINVAL;
    }
  }

  /** Both ways: offset[8] region[4] count[4] data[count]. */
  #regionRead(request: WireReader, reply: WireWriter): number {
    const offset = request.u64();
    const region = request.u32();
    const count = request.u32();
    if (request.overrun || !this.#regions.admits(region, offset, count)) return -Errno.EINVAL;
    reply.reserve(REGION_ACCESS_BYTES + count);
    putRegionAccess(reply, offset, region, count);
    this.#regions.read(region, offset, count, reply);
    return 0;
  }

  /** offset[8] region[4] count[4] data[count]; the reply has no data. */
  #regionWrite(request: WireReader, reply: WireWriter): number {
    const offset = request.u64();
    const region = request.u32();
    const count = request.u32();
    if (request.overrun || request.remaining !== count) return -Errno.EINVAL;
    if (!this.#regions.admits(region, offset, count)) return -Errno.EINVAL;
    this.#workDue = true;
    reply.reserve(REGION_ACCESS_BYTES);
    putRegionAccess(reply, offset, region, count);
    this.#write(region, offset, count, request);
    return 0;
  }

  /**
   * wr_cnt[8] then wr_cnt of: offset[8] region[4] count[4] data[8], of which count bytes are used; the reply is wr_cnt[8].
   * All are checked before the first is done, so that a bad message does nothing.
   */
  #regionWriteMulti(request: WireReader, reply: WireWriter): number {
    const writeCount = request.u64();
    if (request.overrun || request.remaining !== writeCount * WRITE_MULTI_ENTRY_BYTES) return -Errno.EINVAL;
    const check = request.mark();
    for (let i = 0; i < writeCount; i++) {
      if (!this.#nextOfMulti(request, false)) return -Errno.EINVAL;
    }
    request.rewind(check);
    this.#workDue = true;
    for (let i = 0; i < writeCount; i++) this.#nextOfMulti(request, true);
    reply.reserve(8);
    reply.putU64(writeCount);
    return 0;
  }

  /** Checks one write of several, or does it. False for one that is not admitted. */
  #nextOfMulti(request: WireReader, perform: boolean): boolean {
    const offset = request.u64();
    const region = request.u32();
    const count = request.u32();
    if (perform) this.#write(region, offset, count, request);
    else if (count > WRITE_MULTI_MAX_COUNT || !this.#regions.admits(region, offset, count)) return false;
    request.skip(perform ? WRITE_MULTI_MAX_COUNT - count : WRITE_MULTI_MAX_COUNT);
    return true;
  }

  #write(region: number, offset: number, count: number, from: WireReader): void {
    const couldMaster = region === VfioPciRegion.VFIO_PCI_CONFIG_REGION_INDEX && this.#mastersBus;
    this.#regions.write(region, offset, count, from);
    if (couldMaster && !this.#mastersBus) this.#mustQuiesce = true;
  }

  get #mastersBus(): boolean {
    return (this.#fn.readConfig(PciConfig.PCI_COMMAND, 2) & PciCommand.PCI_COMMAND_MASTER) !== 0;
  }

  /** argsz[4] flags[4] offset[8] address[8] size[8], with the memory's file or no descriptor; the reply is empty. */
  #dmaMap(request: WireReader, fds: ReceivedFds): number {
    const argsz = request.u32();
    const flags = request.u32();
    const offset = request.u64();
    const address = request.u64();
    const sizeBytes = request.u64();
    if (request.overrun || argsz < DMA_MAP_BYTES || fds.count > 1) return -Errno.EINVAL;
    const fd = fds.take(0);
    this.#workDue = true;
    try {
      return this.dma.map(flags, offset, address, sizeBytes, fd);
    } finally {
      // The mapping, where one was made, does not need it.
      if (fd >= 0) closeFd(fd);
    }
  }

  /** argsz[4] flags[4] address[8] size[8]; the reply repeats the request. */
  #dmaUnmap(request: WireReader, reply: WireWriter): number {
    const start = request.mark();
    const argsz = request.u32();
    const flags = request.u32();
    const address = request.u64();
    const sizeBytes = request.u64();
    if (request.overrun || argsz < DMA_UNMAP_BYTES) return -Errno.EINVAL;
    const error = this.#unmap(flags, address, sizeBytes);
    if (error !== 0) return error;
    request.rewind(start);
    reply.reserve(DMA_UNMAP_BYTES);
    reply.putBytes(request.bytes(DMA_UNMAP_BYTES));
    return 0;
  }

  #unmap(flags: number, address: number, sizeBytes: number): number {
    this.#workDue = this.#mustQuiesce = true;
    const { VFIO_DMA_UNMAP_FLAG_ALL, VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP } = VfioDmaUnmapFlag;
    if (flags === 0) return this.dma.unmap(address, sizeBytes);
    if (flags === VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) return -Errno.EOPNOTSUPP;
    if (flags !== VFIO_DMA_UNMAP_FLAG_ALL || address !== 0 || sizeBytes !== 0) return -Errno.EINVAL;
    this.dma.unmapAll();
    return 0;
  }

  /** Both ways: argsz[4] flags[4] num_regions[4] num_irqs[4]. */
  #getInfo(request: WireReader, reply: WireWriter): number {
    const argsz = request.u32();
    request.skip(DEVICE_INFO_BYTES - 4);
    if (request.overrun || argsz < DEVICE_INFO_BYTES) return -Errno.EINVAL;
    reply.reserve(DEVICE_INFO_BYTES);
    reply.putU32(DEVICE_INFO_BYTES);
    reply.putU32(VfioDeviceFlag.VFIO_DEVICE_FLAGS_PCI | VfioDeviceFlag.VFIO_DEVICE_FLAGS_RESET);
    reply.putU32(VfioPciRegion.VFIO_PCI_NUM_REGIONS);
    reply.putU32(VfioPciIrq.VFIO_PCI_NUM_IRQS);
    return 0;
  }

  /** Both ways: argsz[4] flags[4] index[4] cap_offset[4] size[8] offset[8]. */
  #getRegionInfo(request: WireReader, reply: WireWriter): number {
    const argsz = request.u32();
    request.skip(4);
    const index = request.u32();
    request.skip(REGION_INFO_BYTES - 12);
    if (request.overrun || argsz < REGION_INFO_BYTES) return -Errno.EINVAL;
    if (index >= VfioPciRegion.VFIO_PCI_NUM_REGIONS) return -Errno.EINVAL;
    reply.reserve(REGION_INFO_BYTES);
    reply.putU32(REGION_INFO_BYTES);
    reply.putU32(this.#regions.flags(index));
    reply.putU32(index);
    reply.putU32(0);
    reply.putU64(this.#regions.size(index));
    reply.putU64(0);
    return 0;
  }

  /** Both ways: argsz[4] flags[4] index[4] count[4]. There are no ioeventfds to offer: count is 0. */
  #getRegionIoFds(request: WireReader, reply: WireWriter): number {
    const argsz = request.u32();
    const flags = request.u32();
    const index = request.u32();
    request.skip(4);
    if (request.overrun || argsz < REGION_IO_FDS_BYTES || flags !== 0) return -Errno.EINVAL;
    if (this.#regions.size(index) === 0) return -Errno.EINVAL;
    reply.reserve(REGION_IO_FDS_BYTES);
    reply.putU32(REGION_IO_FDS_BYTES);
    reply.putU32(0);
    reply.putU32(index);
    reply.putU32(0);
    return 0;
  }

  /** Both ways: argsz[4] flags[4] index[4] count[4]. */
  #getIrqInfo(request: WireReader, reply: WireWriter): number {
    const argsz = request.u32();
    request.skip(4);
    const index = request.u32();
    request.skip(4);
    if (request.overrun || argsz < IRQ_INFO_BYTES || index >= VfioPciIrq.VFIO_PCI_NUM_IRQS)
      return -Errno.EINVAL;
    reply.reserve(IRQ_INFO_BYTES);
    reply.putU32(IRQ_INFO_BYTES);
    reply.putU32(this.irqs.flags(index));
    reply.putU32(index);
    reply.putU32(this.irqs.count(index));
    return 0;
  }

  /** argsz[4] flags[4] index[4] start[4] count[4] data[]; the reply is empty. */
  #setIrqs(request: WireReader, fds: ReceivedFds): number {
    const argsz = request.u32();
    const flags = request.u32();
    const index = request.u32();
    const start = request.u32();
    const count = request.u32();
    if (request.overrun || argsz < IRQ_SET_BYTES) return -Errno.EINVAL;
    return this.irqs.set({ flags, index, start, count }, request, fds);
  }

  #reset(): 0 {
    this.#workDue = false;
    this.#mustQuiesce = true;
    this.#fn.reset();
    this.irqs.reset();
    return 0;
  }
}

function acceptsFds(command: number): boolean {
  return (
    command === VfioUserCommand.VFIO_USER_DMA_MAP || command === VfioUserCommand.VFIO_USER_DEVICE_SET_IRQS
  );
}

function putRegionAccess(reply: WireWriter, offset: number, region: number, count: number): void {
  reply.putU64(offset);
  reply.putU32(region);
  reply.putU32(count);
}
