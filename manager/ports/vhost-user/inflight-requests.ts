/** Requests about the front-end's in-flight area. */
import { Errno } from '../../../devices/errno.js';
import { VIRTQ_MAX_SIZE } from '../../../devices/virtio/ring/defs.js';
import { queueRegionBytes } from '../../../devices/virtio/ring/inflight/layout.js';
import { closeFd, memfdCreate } from '../../../host/index.js';
import type { WireReader } from '../vfio-user/wire.js';
import type { DeviceRun } from './device-run.js';
import type { InflightDescription } from './inflight-area.js';
import { PayloadBytes, VhostUserProtocolFeature, VhostUserRequest } from './protocol.js';
import type { Message, RequestRules } from './request-rule.js';

const feature = VhostUserProtocolFeature.VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD;

export class InflightRequests {
  readonly rules: RequestRules = [
    [
      VhostUserRequest.VHOST_USER_GET_INFLIGHT_FD,
      {
        payloadBytes: PayloadBytes.INFLIGHT,
        // Front-ends send the structure with the padding that their compiler puts behind it.
        andMore: true,
        feature,
        replies: true,
        serve: (message) => this.#get(message),
      },
    ],
    [
      VhostUserRequest.VHOST_USER_SET_INFLIGHT_FD,
      {
        payloadBytes: PayloadBytes.INFLIGHT,
        andMore: true,
        maxFds: 1,
        feature,
        serve: (message) => this.#set(message),
      },
    ],
  ];
  readonly #run: DeviceRun;

  constructor(run: DeviceRun) {
    this.#run = run;
  }

  /** Both ways: mmap_size[8] mmap_offset[8] num_queues[2] queue_size[2] padding[4]; the reply has a descriptor, or says size 0. */
  #get({ payload, reply, attach }: Message): number {
    const { queues, queueSize } = readDescription(payload);
    if (queues > this.#run.vrings.length || queueSize > VIRTQ_MAX_SIZE) return -Errno.EINVAL;
    // Where the format is not agreed on yet, there is room for either.
    const packed = this.#run.packed || this.#run.features === undefined;
    const sizeBytes = queues * queueRegionBytes(queueSize, packed);
    if (sizeBytes > 0) attach(memfdCreate('chassis-inflight', sizeBytes));
    reply.putU64(sizeBytes);
    reply.putU64(0);
    reply.putValue(2, queues);
    reply.putValue(2, queueSize);
    reply.putU32(0);
    return 0;
  }

  #set({ payload, fds }: Message): number {
    const fd = fds.take(0);
    if (fd < 0) return -Errno.EINVAL;
    const error = this.#run.running
      ? -Errno.EBUSY
      : this.#run.inflight.setFrontEnd(fd, readDescription(payload));
    closeFd(fd);
    return error;
  }
}

function readDescription(payload: WireReader): InflightDescription {
  const sizeBytes = payload.u64();
  const offset = payload.u64();
  const queues = payload.u16();
  return { sizeBytes, offset, queues, queueSize: payload.u16() };
}
