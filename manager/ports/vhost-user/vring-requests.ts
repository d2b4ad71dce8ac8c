/** Requests about one queue. */
import { Errno } from '../../../devices/errno.js';
import type { DeviceRun } from './device-run.js';
import type { MemoryTable } from './memory-table.js';
import {
  PayloadBytes,
  VHOST_USER_VRING_IDX_MASK,
  VHOST_USER_VRING_NOFD_MASK,
  VHOST_VRING_F_LOG,
  VhostUserRequest,
} from './protocol.js';
import type { Message, Outcome, RequestRule, RequestRules } from './request-rule.js';
import { isVringBase } from './vring-base.js';
import type { Vring } from './vring.js';

const NO_FD = -1;

export class VringRequests {
  readonly rules: RequestRules = [
    [VhostUserRequest.VHOST_USER_SET_VRING_NUM, this.#state((vring, num) => this.#setNum(vring, num))],
    [
      VhostUserRequest.VHOST_USER_SET_VRING_ADDR,
      { payloadBytes: PayloadBytes.VRING_ADDR, serve: (message) => this.#setAddr(message) },
    ],
    [VhostUserRequest.VHOST_USER_SET_VRING_BASE, this.#state((vring, num) => this.#setBase(vring, num))],
    [
      VhostUserRequest.VHOST_USER_GET_VRING_BASE,
      {
        payloadBytes: PayloadBytes.VRING_STATE,
        replies: true,
        serve: (message) => this.#getBase(message),
      },
    ],
    [VhostUserRequest.VHOST_USER_SET_VRING_KICK, this.#eventfd((vring, fd) => vring.setKick(fd))],
    [VhostUserRequest.VHOST_USER_SET_VRING_CALL, this.#eventfd((vring, fd) => vring.setCall(fd))],
    [VhostUserRequest.VHOST_USER_SET_VRING_ERR, this.#eventfd((vring, fd) => vring.setErr(fd))],
    [VhostUserRequest.VHOST_USER_SET_VRING_ENABLE, this.#state((vring, num) => this.#setEnable(vring, num))],
  ];
  readonly #table: MemoryTable;
  readonly #run: DeviceRun;

  constructor(table: MemoryTable, run: DeviceRun) {
    this.#table = table;
    this.#run = run;
  }

  /** A request with index[4] num[4]. */
  #state(serve: (vring: Vring, num: number) => Outcome): RequestRule {
    return {
      payloadBytes: PayloadBytes.VRING_STATE,
      serve: ({ payload }) => {
        const vring = this.#run.vrings.at(payload.u32());
        return vring === undefined ? -Errno.EINVAL : serve(vring, payload.u32());
      },
    };
  }

  /** A request with a u64 of the queue's index and VHOST_USER_VRING_NOFD_MASK, and a descriptor unless that bit is set. */
  #eventfd(set: (vring: Vring, fd: number) => number): RequestRule {
    return {
      payloadBytes: PayloadBytes.U64,
      maxFds: 1,
      serve: ({ payload, fds }) => {
        const value = payload.u64();
        const vring = this.#run.vrings.at(value & VHOST_USER_VRING_IDX_MASK);
        const withoutFd = (value & VHOST_USER_VRING_NOFD_MASK) !== 0;
        if (vring === undefined || value > (VHOST_USER_VRING_IDX_MASK | VHOST_USER_VRING_NOFD_MASK))
          return -Errno.EINVAL;
        if (fds.count !== (withoutFd ? 0 : 1)) return -Errno.EINVAL;
        const error = set(vring, withoutFd ? NO_FD : fds.take(0));
        if (error === 0) this.#run.update(vring);
        return error;
      },
    };
  }

  #setNum(vring: Vring, num: number): number {
    if (num < 1 || num > vring.config.maxSize) return -Errno.EINVAL;
    if (vring.ring !== undefined && num !== vring.config.size) return -Errno.EBUSY;
    vring.config.size = num;
    return 0;
  }

  /** index[4] flags[4] descriptor[8] used[8] available[8] log[8] */
  #setAddr({ payload }: Message): number {
    const vring = this.#run.vrings.at(payload.u32());
    const flags = payload.u32();
    if (vring === undefined || (flags & ~VHOST_VRING_F_LOG) !== 0) return -Errno.EINVAL;
    const descriptor = payload.u64();
    const used = payload.u64();
    const available = payload.u64();
    const addresses = { descriptor, available, used };
    if (vring.ring !== undefined && !vring.hasAddresses(addresses)) return -Errno.EBUSY;
    const logAddress = payload.u64();
    const error = this.#run.logging.setRing(vring, flags === VHOST_VRING_F_LOG ? logAddress : undefined);
    if (error !== 0 || vring.ring !== undefined) return error;
    vring.addresses = addresses;
    if (!vring.locate(this.#table, this.#run.packed)) {
      vring.addresses = undefined;
      return -Errno.EFAULT;
    }
    this.#run.update(vring);
    return 0;
  }

  #setBase(vring: Vring, base: number): number {
    if (vring.ring !== undefined) return -Errno.EBUSY;
    if (!isVringBase(base, this.#run.packed)) return -Errno.EINVAL;
    vring.base = base;
    return 0;
  }

  /** Both ways: index[4] num[4], of which a request uses the index alone. */
  #getBase({ payload, reply }: Message): Outcome {
    const vring = this.#run.vrings.at(payload.u32());
    if (vring === undefined) return -Errno.EINVAL;
    const answer = (base: number): number => {
      reply.putU32(vring.index);
      reply.putU32(base);
      return 0;
    };
    const base = this.#run.stop(vring);
    return typeof base === 'number' ? answer(base) : base.then(answer);
  }

  #setEnable(vring: Vring, num: number): Outcome {
    if (num > 1) return -Errno.EINVAL;
    vring.enabled = num === 1;
    this.#run.update(vring);
    return vring.enabled ? 0 : this.#run.settle(vring);
  }
}
