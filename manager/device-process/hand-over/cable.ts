/** What a network card is plugged into, as one process gives it to another: the descriptors, and what is on its way in them. */
import { Type } from '@sinclair/typebox';
import {
  StreamBackend,
  type StreamBackendOptions,
} from '../../../devices/net/backends/stream/stream-backend.js';
import { TapBackend } from '../../../devices/net/backends/tap/tap-backend.js';
import { closeFd, type Reactor } from '../../../host/index.js';
import type { PasstNetwork } from '../../control/api.js';
import { Passt } from '../passt.js';
import { dataAs, type Given } from './movable.js';
import { ParcelError, type OutgoingParcel } from './parcel.js';

const Numbered = Type.Integer({ minimum: 0 });
const TapOffer = Type.Object({ fd: Numbered });
const TapState = Type.Object({ undelivered: Numbered });
const PasstOffer = Type.Object({ outputs: Type.Array(Numbered, { maxItems: 8 }) });
const StreamState = Type.Object({
  /** Null where nobody is at the other end just now. */
  connection: Type.Union([Type.Object({ fd: Numbered, received: Numbered, unsent: Numbered }), Type.Null()]),
});

/** See MovableDevice. */
export interface Cable {
  readonly backend: TapBackend | StreamBackend;
  offer(parcel: OutgoingParcel): unknown;
  save(parcel: OutgoingParcel): unknown;
  /** @throws ParcelError */
  restore(given: Given): void;
}

export class TapCable implements Cable {
  readonly backend: TapBackend;

  constructor(backend: TapBackend) {
    this.backend = backend;
  }

  offer(parcel: OutgoingParcel): unknown {
    return { fd: parcel.addFd(this.backend.fd) };
  }

  save(parcel: OutgoingParcel): unknown {
    return { undelivered: parcel.addBytes(this.backend.undelivered) };
  }

  restore({ data, parcel }: Given): void {
    const { undelivered } = dataAs(TapState, data);
    if (!this.backend.restore(parcel.bytes(undelivered))) throw new ParcelError('that is no frame');
  }
}

/** @throws ParcelError */
export function takeTap(name: string, reactor: Reactor, { data, parcel }: Given): TapBackend {
  return new TapBackend({ name, reactor, fd: parcel.takeFd(dataAs(TapOffer, data).fd) });
}

/** A switch, or passt. */
export class StreamCable implements Cable {
  readonly backend: StreamBackend;
  private readonly passt: Passt | undefined;

  constructor(options: StreamBackendOptions, passt?: Passt) {
    this.backend = new StreamBackend(options);
    this.passt = passt;
  }

  offer(parcel: OutgoingParcel): unknown {
    return { outputs: (this.passt?.outputs ?? []).map((fd) => parcel.addFd(fd)) };
  }

  save(parcel: OutgoingParcel): unknown {
    const { state } = this.backend;
    if (state === undefined) return { connection: null };
    const { fd, received, unsent } = state;
    return {
      connection: {
        fd: parcel.addFd(fd),
        received: parcel.addBytes(received),
        unsent: parcel.addBytes(unsent),
      },
    };
  }

  restore({ data, parcel }: Given): void {
    const { connection } = dataAs(StreamState, data);
    if (connection === null) return;
    const received = parcel.bytes(connection.received);
    const unsent = parcel.bytes(connection.unsent);
    const fd = parcel.takeFd(connection.fd);
    if (this.backend.restore({ fd, received, unsent })) return;
    closeFd(fd);
    throw new ParcelError('there is more on its way than can be');
  }
}

/** @throws ParcelError */
export function takePasst(network: PasstNetwork, { data, parcel }: Given): Passt {
  return Passt.takeOver(network, parcel.takeFds(dataAs(PasstOffer, data).outputs));
}
