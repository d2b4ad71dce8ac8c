/**
 * Requests of a block device (virtio 1.3, section 5.2.6) against a backend: reads each chain, checks all that the driver says, and
 * gives it back with a status.
 *
 * A chain is looked at as two runs of bytes, however its descriptors cut them: 16 bytes of header and then data to read, and data
 * to write with the status as the very last byte. So legacy drivers' layouts and VIRTIO_F_ANY_LAYOUT need no code of their own.
 */
import { Errno } from '../../errno.js';
import { LatencyCounts, Sampler } from '../../latencies.js';
import type { Chain } from '../../virtio/device.js';
import { PENDING, type BlockBackend } from '../backends/block-backend.js';
import type { LifetimeEstimate } from '../backends/lifetime.js';
import {
  LifetimeField,
  RequestHeader,
  SECTOR_BYTES,
  VIRTIO_BLK_ID_BYTES,
  VirtioBlkStatus,
  VirtioBlkType,
} from '../protocol.js';
import { BlockRequest, type ReplySink } from './block-request.js';
import { FailureLog } from './failure-log.js';
import {
  newBlockStatistics,
  type BlockLatencies,
  type BlockServerOptions,
  type BlockStatistics,
} from './options.js';
import { RangeProblem, type RangeRules } from './range-list.js';

const { VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP } = VirtioBlkStatus;
const TWO_POW_32 = 0x1_0000_0000;
/** The driver's fault, as a result. */
const INVALID = -Errno.EINVAL;
const UNSUPPORTED = -Errno.EOPNOTSUPP;

interface Waiter {
  readonly serial: number;
  readonly sink: ReplySink | undefined;
  readonly resolve: () => void;
}

export class BlockServer {
  /** Size of the disk in bytes, as the driver may use it. */
  sizeBytes: number;
  /** Whether a write completes only once it is on the medium. */
  writeThrough = false;
  readonly statistics: BlockStatistics = newBlockStatistics();
  readonly latencies: BlockLatencies = {
    read: new LatencyCounts(),
    write: new LatencyCounts(),
    flush: new LatencyCounts(),
  };
  readonly #sampler = new Sampler();
  readonly #backend: BlockBackend;
  readonly #readOnly: boolean;
  readonly #id: Uint8Array;
  readonly #failures: FailureLog;
  readonly #discardRules: RangeRules | undefined;
  readonly #zeroesRules: RangeRules | undefined;
  readonly #eraseRules: RangeRules | undefined;
  /** Every request object there is, and those that are free. */
  readonly #requests: BlockRequest[] = [];
  readonly #free: BlockRequest[] = [];
  readonly #header = new Uint8Array(RequestHeader.BYTES);
  readonly #headerView = new DataView(this.#header.buffer);
  #serial = 0;
  #waiters: Waiter[] = [];

  constructor(backend: BlockBackend, options: BlockServerOptions) {
    const { limits } = backend;
    this.#backend = backend;
    this.#readOnly = options.readOnly || limits.readOnly;
    this.#id = options.id;
    this.#failures = new FailureLog(options.log);
    this.sizeBytes = backend.sizeBytes;
    // Only a secure erase has to be aligned; for the others the alignment is advice.
    this.#discardRules = limits.discard && { ...limits.discard, alignmentBytes: 0, mayUnmap: false };
    this.#zeroesRules = limits.writeZeroes && { ...limits.writeZeroes, alignmentBytes: 0, mayUnmap: true };
    this.#eraseRules = limits.secureErase && { ...limits.secureErase, mayUnmap: false };
  }

  /** Serves one chain; its answer goes to `sink` before this returns, or later. */
  handle(chain: Chain, sink: ReplySink): void {
    if (chain.writable.byteLength === 0) {
      this.statistics.refused++;
      sink.fault('a block request has no room for its status');
      return;
    }
    const request = this.#free.pop() ?? this.#newRequest();
    request.start(chain, sink, ++this.#serial);
    request.begunMs = this.#sampler.begin();
    const result = this.#serve(request);
    if (result !== PENDING) this.#end(request, result);
  }

  /** Resolves once the requests that are under way now (those of one queue, with `sink`) have ended; undefined where none are. */
  settled(sink?: ReplySink): Promise<void> | undefined {
    const serial = this.#serial;
    if (!this.#anyActive(serial, sink)) return undefined;
    return new Promise((resolve) => this.#waiters.push({ serial, sink, resolve }));
  }

  #newRequest(): BlockRequest {
    const request = new BlockRequest((ended, result) => this.#end(ended, result));
    this.#requests.push(request);
    return request;
  }

  /** Each field that the driver wrote is read once, here or in the list of ranges. */
  #serve(request: BlockRequest): number {
    const { readable } = request.chain;
    if (readable.gather(0, this.#header, 0, RequestHeader.BYTES) < RequestHeader.BYTES) return INVALID;
    switch (this.#headerView.getUint32(RequestHeader.TYPE, true)) {
      case VirtioBlkType.VIRTIO_BLK_T_IN:
        return this.#read(request);
      case VirtioBlkType.VIRTIO_BLK_T_OUT:
        return this.#write(request);
      case VirtioBlkType.VIRTIO_BLK_T_FLUSH:
      case VirtioBlkType.VIRTIO_BLK_T_FLUSH_OUT:
        return this.#flush(request);
      case VirtioBlkType.VIRTIO_BLK_T_GET_ID:
        return this.#getId(request);
      case VirtioBlkType.VIRTIO_BLK_T_GET_LIFETIME:
        return this.#getLifetime(request);
      case VirtioBlkType.VIRTIO_BLK_T_DISCARD:
        return this.#ranges(request, VirtioBlkType.VIRTIO_BLK_T_DISCARD, this.#discardRules);
      case VirtioBlkType.VIRTIO_BLK_T_WRITE_ZEROES:
        return this.#ranges(request, VirtioBlkType.VIRTIO_BLK_T_WRITE_ZEROES, this.#zeroesRules);
      case VirtioBlkType.VIRTIO_BLK_T_SECURE_ERASE:
        return this.#ranges(request, VirtioBlkType.VIRTIO_BLK_T_SECURE_ERASE, this.#eraseRules);
      default:
        return UNSUPPORTED;
    }
  }

  #read(request: BlockRequest): number {
    const { writable } = request.chain;
    const data = writable.slice(0, writable.byteLength - 1, request.data);
    if (!this.#place(request)) return INVALID;
    if (data.byteLength === 0) return 0;
    request.operation = 'read';
    request.answeredBytes = data.byteLength;
    return this.#backend.read(request.offsetBytes, data, request);
  }

  #write(request: BlockRequest): number {
    const { readable } = request.chain;
    if (this.#readOnly) return INVALID;
    const data = readable.slice(RequestHeader.BYTES, readable.byteLength, request.data);
    if (!this.#place(request)) return INVALID;
    if (data.byteLength === 0) return 0;
    request.operation = 'write';
    return this.#backend.write(request.offsetBytes, data, this.writeThrough, request);
  }

  #flush(request: BlockRequest): number {
    // What is only read has nothing to lose.
    if (this.#readOnly) return 0;
    request.operation = 'flush';
    return this.#backend.flush(request);
  }

  #getId(request: BlockRequest): number {
    const { writable } = request.chain;
    const room = Math.min(writable.byteLength - 1, VIRTIO_BLK_ID_BYTES);
    request.answeredBytes = writable.scatter(0, this.#id, 0, room);
    return 0;
  }

  #getLifetime(request: BlockRequest): number {
    if (!this.#backend.limits.hasLifetime) return UNSUPPORTED;
    if (request.chain.writable.byteLength - 1 < LifetimeField.BYTES) return INVALID;
    request.operation = 'read the lifetime';
    this.#backend.lifetime().then(
      (estimate) => request.complete(answerLifetime(request, estimate)),
      () => request.complete(-Errno.EIO),
    );
    return PENDING;
  }

  #ranges(request: BlockRequest, command: number, rules: RangeRules | undefined): number {
    if (this.#readOnly) return INVALID;
    if (rules === undefined) return UNSUPPORTED;
    const problem = request.ranges.load(request.chain.readable, this.sizeBytes, rules);
    if (problem !== RangeProblem.none) return problem === RangeProblem.invalid ? INVALID : UNSUPPORTED;
    request.command = command;
    return this.#nextRange(request);
  }

  /** Hands range after range to the backend, from the one that `ranges.index` is at. */
  readonly #nextRange = (request: BlockRequest): number => {
    const { ranges } = request;
    while (ranges.index < ranges.count) {
      const result = ranges.lengthBytes === 0 ? 0 : this.#startRange(request);
      ranges.index++;
      if (result === PENDING) request.next = this.#nextRange;
      if (result !== 0) return result;
    }
    // What a write-through disk has done is on the medium when it says so.
    return this.writeThrough && request.operation !== '' ? this.#backend.flush(request) : 0;
  };

  #startRange(request: BlockRequest): number {
    const { offsetBytes, lengthBytes, unmap } = request.ranges;
    request.offsetBytes = offsetBytes;
    switch (request.command) {
      case VirtioBlkType.VIRTIO_BLK_T_DISCARD:
        request.operation = 'discard';
        return this.#backend.discard(offsetBytes, lengthBytes, request);
      case VirtioBlkType.VIRTIO_BLK_T_WRITE_ZEROES:
        request.operation = 'write zeroes';
        return this.#backend.writeZeroes(offsetBytes, lengthBytes, unmap, request);
      default:
        request.operation = 'erase';
        return this.#backend.secureErase(offsetBytes, lengthBytes, request);
    }
  }

  /** Takes the header's sector; false where the data is no whole number of sectors, or not all on the disk. */
  #place(request: BlockRequest): boolean {
    const low = this.#headerView.getUint32(RequestHeader.SECTOR, true);
    const high = this.#headerView.getUint32(RequestHeader.SECTOR_HIGH, true);
    // Beyond 2^53 this rounds, but never to a place on a disk.
    request.offsetBytes = (high * TWO_POW_32 + low) * SECTOR_BYTES;
    const { byteLength } = request.data;
    return byteLength % SECTOR_BYTES === 0 && request.offsetBytes <= this.sizeBytes - byteLength;
  }

  #end(request: BlockRequest, result: number): void {
    const { chain, sink } = request;
    this.#count(request, result);
    if (request.begunMs !== 0) this.#time(request);
    const { bytes, offsets, lengths, count, byteLength } = chain.writable;
    const last = count - 1;
    bytes[last][offsets[last] + lengths[last] - 1] = statusOf(result);
    // The length that the driver sees covers the status only if everything before it was written, too.
    const answered = result < 0 ? 0 : request.answeredBytes;
    const writtenBytes = answered === byteLength - 1 ? byteLength : answered;
    request.active = false;
    this.#free.push(request);
    sink.done(chain, writtenBytes);
    if (this.#waiters.length > 0) this.#settle();
  }

  #count(request: BlockRequest, result: number): void {
    const { statistics } = this;
    const { operation } = request;
    if (result < 0) {
      if (operation === '') statistics.refused++;
      else {
        statistics.backendErrors++;
        if (result !== -Errno.ECANCELED) this.#failures.add(operation, request.offsetBytes, result);
      }
    } else if (operation === 'read') {
      statistics.reads++;
      statistics.bytesRead += request.data.byteLength;
    } else if (operation === 'write') {
      statistics.writes++;
      statistics.bytesWritten += request.data.byteLength;
    } else if (operation === 'flush') statistics.flushes++;
    else if (request.command !== 0) statistics.rangeRequests++;
  }

  #time({ operation, begunMs }: BlockRequest): void {
    if (operation === 'read' || operation === 'write' || operation === 'flush')
      this.latencies[operation].record(begunMs);
  }

  #anyActive(serial: number, sink: ReplySink | undefined): boolean {
    return this.#requests.some(
      (request) =>
        request.active && request.serial <= serial && (sink === undefined || request.sink === sink),
    );
  }

  #settle(): void {
    const waiting = this.#waiters;
    this.#waiters = waiting.filter(({ serial, sink }) => this.#anyActive(serial, sink));
    for (const waiter of waiting) if (!this.#waiters.includes(waiter)) waiter.resolve();
  }
}

function statusOf(result: number): number {
  if (result === 0) return VIRTIO_BLK_S_OK;
  return result === UNSUPPORTED ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/** Rare: it may allocate. 0 or a negative errno. */
function answerLifetime(request: BlockRequest, estimate: LifetimeEstimate | undefined): number {
  if (estimate === undefined) return UNSUPPORTED;
  const answer = new DataView(new ArrayBuffer(LifetimeField.BYTES));
  answer.setUint16(LifetimeField.PRE_EOL_INFO, estimate.preEolInfo, true);
  answer.setUint16(LifetimeField.EST_TYP_A, estimate.typeA, true);
  answer.setUint16(LifetimeField.EST_TYP_B, estimate.typeB, true);
  const { writable } = request.chain;
  request.answeredBytes = writable.scatter(0, new Uint8Array(answer.buffer), 0, LifetimeField.BYTES);
  return 0;
}
