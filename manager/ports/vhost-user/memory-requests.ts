/** Requests about the front-end's memory. */
import { Errno } from '../../../devices/errno.js';
import { closeFd } from '../../../host/index.js';
import type { WireReader } from '../vfio-user/wire.js';
import type { DeviceRun } from './device-run.js';
import type { MemoryTable, RegionDescription } from './memory-table.js';
import { PayloadBytes, VhostUserLimit, VhostUserProtocolFeature, VhostUserRequest } from './protocol.js';
import { query, type Message, type RequestRules } from './request-rule.js';

const feature = VhostUserProtocolFeature.VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS;

export class MemoryRequests {
  readonly rules: RequestRules = [
    [
      VhostUserRequest.VHOST_USER_SET_MEM_TABLE,
      {
        payloadBytes: PayloadBytes.MEM_TABLE,
        andMore: true,
        maxFds: VhostUserLimit.MEM_TABLE_REGIONS,
        serve: (message) => this.#setMemTable(message),
      },
    ],
    [VhostUserRequest.VHOST_USER_GET_MAX_MEM_SLOTS, query(() => BigInt(VhostUserLimit.MEM_SLOTS), feature)],
    [
      VhostUserRequest.VHOST_USER_ADD_MEM_REG,
      {
        payloadBytes: PayloadBytes.SINGLE_MEM_REGION,
        maxFds: 1,
        feature,
        serve: (message) => this.#addMemReg(message),
      },
    ],
    [
      VhostUserRequest.VHOST_USER_REM_MEM_REG,
      {
        payloadBytes: PayloadBytes.SINGLE_MEM_REGION,
        // Some front-ends send a descriptor along, which is of no use.
        maxFds: 1,
        feature,
        serve: (message) => this.#remMemReg(message),
      },
    ],
  ];
  readonly #table: MemoryTable;
  readonly #run: DeviceRun;
  readonly #quiesce: () => Promise<void> | undefined;

  /** `quiesce`: see `quiesceRun`. */
  constructor(table: MemoryTable, run: DeviceRun, quiesce: () => Promise<void> | undefined) {
    this.#table = table;
    this.#run = run;
    this.#quiesce = quiesce;
  }

  /** num_regions[4] padding[4], then num_regions of guest_address[8] size[8] user_address[8] mmap_offset[8], a descriptor each. */
  #setMemTable({ payload, fds }: Message): number | Promise<number> {
    const count = payload.u32();
    payload.skip(4);
    if (count > VhostUserLimit.MEM_TABLE_REGIONS || fds.count !== count) return -Errno.EINVAL;
    if (payload.remaining !== count * PayloadBytes.MEM_REGION) return -Errno.EINVAL;
    const descriptions = Array.from({ length: count }, () => readRegion(payload));
    if (!this.#run.logging.hasRoomFor(descriptions)) return -Errno.EINVAL;
    const taken = descriptions.map((_, i) => fds.take(i));
    try {
      return this.#taken(this.#table.replace(descriptions, taken, this.#run.requestsUnderWay));
    } finally {
      for (const fd of taken) closeFd(fd);
    }
  }

  /** padding[8] guest_address[8] size[8] user_address[8] mmap_offset[8], and a descriptor. */
  #addMemReg({ payload, fds }: Message): number {
    if (fds.count !== 1) return -Errno.EINVAL;
    payload.skip(8);
    const description = readRegion(payload);
    if (!this.#run.logging.hasRoomFor([description])) return -Errno.EINVAL;
    const fd = fds.take(0);
    try {
      return this.#changed(this.#table.add(description, fd));
    } finally {
      closeFd(fd);
    }
  }

  /** As ADD_MEM_REG; the offset does not matter. */
  #remMemReg({ payload }: Message): number | Promise<number> {
    payload.skip(8);
    return this.#taken(this.#table.remove(readRegion(payload), this.#run.requestsUnderWay));
  }

  /** The front-end hears of it once requests under way leave what was taken away alone, or have had the time for that. */
  #taken(error: number): number | Promise<number> {
    const changed = this.#changed(error);
    const quiet = changed === 0 && this.#table.tookAway ? this.#quiesce() : undefined;
    return quiet === undefined ? changed : quiet.then(() => 0);
  }

  #changed(error: number): number {
    if (error === 0) this.#run.memoryChanged();
    return error;
  }
}

/** guest_address[8] size[8] user_address[8] mmap_offset[8] */
function readRegion(payload: WireReader): RegionDescription {
  const guestAddress = payload.u64();
  const sizeBytes = payload.u64();
  const userAddress = payload.u64();
  return { guestAddress, sizeBytes, userAddress, mmapOffset: payload.u64() };
}
