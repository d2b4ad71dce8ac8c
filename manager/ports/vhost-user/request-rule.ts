/** What each request of the front-end looks like and who serves it. */
import type { ReceivedFds } from '../../../host/index.js';
import type { WireReader, WireWriter } from '../vfio-user/wire.js';
import { PayloadBytes, type VhostUserProtocolFeature, type VhostUserRequest } from './protocol.js';

/** 0, or a negative errno; a promise where the front-end has to wait for it. */
export type Outcome = number | Promise<number>;

/** One message: what it carries, and where its reply goes. Descriptors that are kept are taken from `fds`. */
export interface Message {
  readonly payload: WireReader;
  readonly fds: ReceivedFds;
  readonly reply: WireWriter;
  /** Sends a descriptor with the reply, and closes it then. */
  readonly attach: (fd: number) => void;
}

/** How a request is checked before it is served. */
export interface RequestRule {
  /** Size of the payload, or with `andMore` its least size. */
  readonly payloadBytes: number;
  readonly andMore?: true;
  /** The most descriptors it may carry; 0 where left out. */
  readonly maxFds?: number;
  /** The protocol feature without which it is unknown. */
  readonly feature?: VhostUserProtocolFeature;
  /** The reply is the request's own, rather than an acknowledgement: a failure can be told by closing the connection alone. */
  readonly replies?: true;
  readonly serve: (message: Message) => Outcome;
}

/** Rows of the dispatch table. */
export type RequestRules = readonly (readonly [VhostUserRequest, RequestRule])[];

/** A request without payload that is answered with 64 bits. */
export function query(value: () => bigint, feature?: VhostUserProtocolFeature): RequestRule {
  return {
    payloadBytes: 0,
    replies: true,
    ...(feature !== undefined && { feature }),
    serve: ({ reply }) => {
      const bits = value();
      reply.putU32(Number(bits & 0xffff_ffffn));
      reply.putU32(Number(bits >> 32n));
      return 0;
    },
  };
}

/** A request whose payload is 64 bits, of which every one counts. */
export function assignment(
  assign: (value: bigint) => Outcome,
  feature?: VhostUserProtocolFeature,
): RequestRule {
  return {
    payloadBytes: PayloadBytes.U64,
    ...(feature !== undefined && { feature }),
    serve: ({ payload }) => {
      const low = payload.u32();
      return assign((BigInt(payload.u32()) << 32n) | BigInt(low));
    },
  };
}
