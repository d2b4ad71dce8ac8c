/** The network cards that a device process serves: which device, over which backend. */
import type { NetBackend } from '../../devices/net/backends/net-backend.js';
import { StreamFraming } from '../../devices/net/backends/stream/framing.js';
import {
  StreamBackend,
  unixPeer,
  type StreamPeer,
} from '../../devices/net/backends/stream/stream-backend.js';
import { TapBackend } from '../../devices/net/backends/tap/tap-backend.js';
import { CapturedBackend } from '../../devices/net/capture/captured-backend.js';
import { VirtioNet } from '../../devices/net/virtio-net.js';
import { HostError, type Reactor } from '../../host/index.js';
import { ChassisError, type CaptureRequest, type Captured, type CardStatistics } from '../control/api.js';
import { CardCapture } from './card-capture.js';
import { Passt } from './passt.js';
import type { CardSpec } from './protocol.js';
import type { ServedDevice } from './served-function.js';

/** What the daemon may do to a network card. */
export interface ServedCard {
  readonly status: { readonly carrier: boolean; readonly statistics: CardStatistics };
  /** Pulls the cable, or plugs it in again. */
  setLink(up: boolean): void;
  /** Resolves once the capture has ended. @throws ChassisError SOURCE_IN_USE where one is under way, or SOURCE_UNREADABLE */
  startCapture(request: CaptureRequest): Promise<Captured>;
  endCapture(): void;
}

/** @throws ChassisError NETWORK_UNAVAILABLE */
export async function openCard(
  spec: CardSpec,
  reactor: Reactor,
  log: (message: string) => void,
): Promise<ServedDevice> {
  const backend = new CapturedBackend(
    await openBackend(spec, reactor, (line) => log(`${spec.name}: ${line}`)),
  );
  return new CardDevice(spec, backend);
}

async function openBackend(
  { peer }: CardSpec,
  reactor: Reactor,
  log: (message: string) => void,
): Promise<NetBackend> {
  const { PLAIN, WITH_HEADER } = StreamFraming;
  switch (peer.type) {
    case 'switch':
      return stream(unixPeer(peer.socketPath), WITH_HEADER, reactor, log);
    case 'passt':
      return stream(await Passt.start(peer), PLAIN, reactor, log);
    case 'tap':
      return openTap(peer.interface, reactor);
  }
}

function stream(
  peer: StreamPeer,
  framing: StreamFraming,
  reactor: Reactor,
  log: (message: string) => void,
): NetBackend {
  return new StreamBackend({ peer, framing, reactor, log });
}

function openTap(name: string, reactor: Reactor): NetBackend {
  try {
    return new TapBackend({ name, reactor });
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    throw new ChassisError(
      'NETWORK_UNAVAILABLE',
      `cannot open the TAP device ${name}: ${error.message}`,
      `make it for the daemon's user: ip tuntap add ${name} mode tap user NAME`,
    );
  }
}

class CardDevice implements ServedDevice, ServedCard {
  readonly device: VirtioNet;
  readonly tree = undefined;
  readonly disk = undefined;
  private readonly name: string;
  private readonly backend: CapturedBackend;
  private capture: CardCapture | undefined;

  constructor({ name, mac, mtu, queuePairs, up }: CardSpec, backend: CapturedBackend) {
    this.name = name;
    this.backend = backend;
    this.device = new VirtioNet(backend, { mac, queuePairs, ...(mtu !== undefined && { mtu }) });
    if (!up) this.device.setLink(false);
  }

  get card(): ServedCard {
    return this;
  }

  get status() {
    return { carrier: this.device.linkUp, statistics: { ...this.device.statistics } };
  }

  counted() {
    return { bytesRead: 0, bytesWritten: 0 };
  }

  setSource(): Promise<never> {
    return Promise.reject(new Error('a network card shows no file system'));
  }

  setLink(up: boolean): void {
    this.device.setLink(up);
  }

  startCapture(request: CaptureRequest): Promise<Captured> {
    if (this.capture?.isOpen) {
      throw new ChassisError(
        'SOURCE_IN_USE',
        `${this.name} is being captured already`,
        'end that capture first',
      );
    }
    this.capture = new CardCapture(this.name, this.backend, request);
    return this.capture.ended;
  }

  endCapture(): void {
    this.capture?.end('ended');
  }
}
