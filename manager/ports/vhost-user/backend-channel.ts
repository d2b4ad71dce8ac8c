/** The socket by which the back-end speaks first (VHOST_USER_SET_BACKEND_REQ_FD). */
import { fstatSync } from 'node:fs';
import { Errno } from '../../../devices/errno.js';
import { closeFd, sendMessage } from '../../../host/index.js';
import { WireWriter } from '../vfio-user/wire.js';
import { VHOST_USER_HEADER_BYTES, VhostUserBackendRequest, VhostUserFlag } from './protocol.js';

const NO_FD = -1;

export class BackendChannel {
  readonly #configChange = new WireWriter(VHOST_USER_HEADER_BYTES);
  #fd = NO_FD;

  constructor() {
    this.#configChange.putU32(VhostUserBackendRequest.VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    this.#configChange.putU32(VhostUserFlag.VHOST_USER_VERSION);
    this.#configChange.putU32(0);
  }

  /** Takes the descriptor over: 0, or -EINVAL for one that is no socket. */
  open(fd: number): number {
    if (!fstatSync(fd).isSocket()) {
      closeFd(fd);
      return -Errno.EINVAL;
    }
    this.close();
    this.#fd = fd;
    return 0;
  }

  /** The socket, for a process that is to take it over; -1 where there is none. */
  get fd(): number {
    return this.#fd;
  }

  /** Tells the front-end to read the config space again. It asks for no acknowledgement, so nothing is ever to be read here. */
  configChanged(): void {
    if (this.#fd === NO_FD) return;
    const sent = sendMessage(this.#fd, this.#configChange.bytes, 0, VHOST_USER_HEADER_BYTES);
    // Full: the front-end has not taken earlier messages that say the same. Anything else is the channel's end.
    if (sent !== VHOST_USER_HEADER_BYTES && sent !== -Errno.EAGAIN) this.close();
  }

  close(): void {
    if (this.#fd !== NO_FD) closeFd(this.#fd);
    this.#fd = NO_FD;
  }
}
