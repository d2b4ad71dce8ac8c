/** Requests about the log of dirty pages. */
import { Errno } from '../../../devices/errno.js';
import { closeFd } from '../../../host/index.js';
import type { DeviceRun } from './device-run.js';
import { PayloadBytes, VhostUserProtocolFeature, VhostUserRequest } from './protocol.js';
import type { Message, RequestRules } from './request-rule.js';

export class LogRequests {
  readonly rules: RequestRules = [
    [
      VhostUserRequest.VHOST_USER_SET_LOG_BASE,
      {
        payloadBytes: PayloadBytes.LOG,
        maxFds: 1,
        feature: VhostUserProtocolFeature.VHOST_USER_PROTOCOL_F_LOG_SHMFD,
        replies: true,
        serve: (message) => this.#setLogBase(message),
      },
    ],
    [
      VhostUserRequest.VHOST_USER_SET_LOG_FD,
      { payloadBytes: 0, maxFds: 1, serve: (message) => this.#setLogFd(message) },
    ],
  ];
  readonly #run: DeviceRun;

  constructor(run: DeviceRun) {
    this.#run = run;
  }

  /**
   * Both ways: mmap_size[8] mmap_offset[8]; the request has a descriptor. What the reply says is not in the specification: QEMU takes
   * any, rust-vmm's front-ends take this one, and take no size 0, which therefore says that the log was refused.
   */
  #setLogBase({ payload, fds, reply }: Message): number {
    const sizeBytes = payload.u64();
    const offset = payload.u64();
    const error = this.#map(fds.take(0), sizeBytes, offset);
    reply.putU64(error === 0 ? sizeBytes : 0);
    reply.putU64(error === 0 ? offset : 0);
    return 0;
  }

  #map(fd: number, sizeBytes: number, offset: number): number {
    let error: number = -Errno.EINVAL;
    if (fd >= 0) {
      error = this.#run.logging.setLog(fd, sizeBytes, offset);
      closeFd(fd);
    }
    if (error !== 0) this.#run.refuseLog(`it has ${sizeBytes} bytes at ${offset}: errno ${-error}`);
    return error;
  }

  #setLogFd({ fds }: Message): number {
    return fds.count === 1 ? this.#run.logging.log.setEventFd(fds.take(0)) : -Errno.EINVAL;
  }
}
