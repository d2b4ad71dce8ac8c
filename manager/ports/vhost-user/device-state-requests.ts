/**
 * Requests about the device's state (vhost-user, "Migrating back-end state"): a pipe comes, the state goes through it, and
 * VHOST_USER_CHECK_DEVICE_STATE waits for the outcome. Why something failed is in the log, since a reply says no more than that.
 */
import { Errno } from '../../../devices/errno.js';
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import { closeFd, type Reactor } from '../../../host/index.js';
import type { DeviceRun } from './device-run.js';
import { decodeMovedState } from './moved-state.js';
import { stateNow } from './file-state.js';
import {
  PayloadBytes,
  VHOST_USER_VRING_NOFD_MASK,
  VhostDeviceStateDirection as Direction,
  VhostDeviceStatePhase,
  VhostUserLimit,
  VhostUserProtocolFeature,
  VhostUserRequest,
} from './protocol.js';
import type { Message, RequestRules } from './request-rule.js';
import { checkPipe, IncomingState, OutgoingState } from './state-pipe.js';

const feature = VhostUserProtocolFeature.VHOST_USER_PROTOCOL_F_DEVICE_STATE;

type StatePipe = IncomingState | OutgoingState;

/** A state on its way, until its outcome was asked for. */
interface Transfer {
  readonly pipe: StatePipe;
  /** 0, or a negative errno of which the log says more. */
  readonly outcome: Promise<number>;
  /** The outcome is there, and nobody has asked. */
  isOver: boolean;
}

export interface DeviceStateOptions {
  readonly run: DeviceRun;
  readonly device: VirtioDevice;
  /** Virtio features on offer. */
  readonly offered: bigint;
  readonly reactor: Reactor;
  readonly log: (message: string) => void;
}

export class DeviceStateRequests {
  readonly rules: RequestRules = [
    [
      VhostUserRequest.VHOST_USER_SET_DEVICE_STATE_FD,
      {
        payloadBytes: PayloadBytes.DEVICE_STATE,
        maxFds: 1,
        feature,
        replies: true,
        serve: (message) => this.#setFd(message),
      },
    ],
    [
      VhostUserRequest.VHOST_USER_CHECK_DEVICE_STATE,
      { payloadBytes: 0, feature, replies: true, serve: (message) => this.#check(message) },
    ],
  ];
  readonly #options: DeviceStateOptions;
  #transfer: Transfer | undefined;

  constructor(options: DeviceStateOptions) {
    this.#options = options;
  }

  /** True while a state is on its way, or waits for its driver. */
  get underWay(): boolean {
    return this.#options.run.rest.awaitsDriver || (this.#transfer !== undefined && !this.#transfer.isOver);
  }

  /** The front-end is gone, or begins anew: what is on its way stops where it is. */
  cancel(): void {
    this.#transfer?.pipe.end('the front-end gave it up');
    this.#transfer = undefined;
  }

  /**
   * direction[4] phase[4], and the pipe's end for us, which we close. The reply's 64 bits have an errno, or 0, in the lowest 8, and say
   * that no other pipe comes with it.
   */
  #setFd({ payload, fds, reply }: Message): number {
    const direction = payload.u32();
    const phase = payload.u32();
    const fd = fds.take(0);
    const error = this.#problemOf(direction, phase, fd) || this.#begin(direction, fd);
    if (error !== 0 && fd >= 0) closeFd(fd);
    reply.putU64(-error | VHOST_USER_VRING_NOFD_MASK);
    return 0;
  }

  #problemOf(direction: number, phase: number, fd: number): number {
    const { run } = this.#options;
    if (phase !== VhostDeviceStatePhase.STOPPED || direction > Direction.LOAD) return -Errno.EINVAL;
    if (run.running || run.faulted || run.settled !== undefined) return -Errno.EBUSY;
    if (this.#transfer !== undefined && !this.#transfer.isOver) return -Errno.EBUSY;
    return checkPipe(fd, direction === Direction.SAVE);
  }

  #begin(direction: number, fd: number): number {
    if (direction === Direction.LOAD) return this.#load(fd);
    const state = this.#state();
    return typeof state === 'number' ? state : this.#save(fd, state);
  }

  #save(fd: number, state: Uint8Array): number {
    const pipe = new OutgoingState(fd, this.#options.reactor, state);
    return this.#transferOver(
      pipe,
      pipe.outcome.then((problem) => (problem === undefined ? 0 : this.#failed('saved', problem))),
    );
  }

  #load(fd: number): number {
    const pipe = new IncomingState(fd, this.#options.reactor, VhostUserLimit.STATE_BYTES);
    return this.#transferOver(
      pipe,
      pipe.outcome.then(async (bytes) => {
        const problem = typeof bytes === 'string' ? bytes : await this.#restore(bytes);
        return problem === undefined ? 0 : this.#failed('loaded', problem);
      }),
    );
  }

  #transferOver(pipe: StatePipe, outcome: Promise<number>): number {
    const transfer = { pipe, outcome, isOver: false };
    void outcome.then(() => (transfer.isOver = true));
    this.#transfer = transfer;
    return 0;
  }

  /** The state now, or a negative errno. It is a copy: the device keeps what it has, for the front-end may change its mind. */
  #state(): Uint8Array | number {
    const { run, device } = this.#options;
    try {
      return stateNow(run, device);
    } catch (error) {
      return this.#failed('saved', error instanceof Error ? error.message : String(error));
    }
  }

  async #restore(bytes: Uint8Array): Promise<string | undefined> {
    const { run, device, offered } = this.#options;
    const state = decodeMovedState(bytes, device, offered);
    return typeof state === 'string' ? state : run.restore({ features: state.features }, state.device);
  }

  #failed(what: 'saved' | 'loaded', problem: string): number {
    this.#options.log(`the device's state cannot be ${what}: ${problem}`);
    return -Errno.EIO;
  }

  /** 64 bits: 0, or an errno. */
  async #check({ reply }: Message): Promise<number> {
    const transfer = this.#transfer;
    transfer?.pipe.awaited();
    const error = transfer === undefined ? -Errno.EINVAL : await transfer.outcome;
    if (this.#transfer === transfer) this.#transfer = undefined;
    reply.putU64(-error);
    return 0;
  }
}
