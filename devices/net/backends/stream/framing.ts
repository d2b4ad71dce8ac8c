/**
 * How frames follow each other in a stream: each behind its length in network order, `length[4] frame[length]`, as QEMU's
 * `-netdev stream` has it; or, between processes of ours, with the work that is left to do to it before the frame:
 * `length[4] virtio_net_hdr[12] frame[length - 12]`. So what one guest leaves to be cut up is cut up nowhere on its way to another.
 */
import { HeaderField } from '../../protocol.js';

export const PREFIX_BYTES = 4;

/** Its bytes between a frame's length and the frame. */
export const StreamFraming = { PLAIN: 0, WITH_HEADER: HeaderField.BYTES } as const;
export type StreamFraming = (typeof StreamFraming)[keyof typeof StreamFraming];
