/** The network cards that a device process serves: which device, over which backend. */
import { StreamFraming } from '../../devices/net/backends/stream/framing.js';
import { unixPeer } from '../../devices/net/backends/stream/stream-backend.js';
import { TapBackend } from '../../devices/net/backends/tap/tap-backend.js';
import { CapturedBackend } from '../../devices/net/capture/captured-backend.js';
import { VirtioNet } from '../../devices/net/virtio-net.js';
import { HostError, type Reactor } from '../../host/index.js';
import { ChassisError, type CaptureRequest, type Captured, type CardStatistics } from '../control/api.js';
import type { LogMethod } from '../logging/log.js';
import { CardCapture } from './card-capture.js';
import { StreamCable, takePasst, takeTap, TapCable, type Cable } from './hand-over/cable.js';
import type { Given, MovableDevice } from './hand-over/movable.js';
import type { OutgoingParcel } from './hand-over/parcel.js';
import { takeGranted, tapKey } from './host-paths.js';
import { tapUnavailable } from './network-errors.js';
import { Passt } from './passt.js';
import type { Dialer } from './peer-stock.js';
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

/**
 * With `given`, what another process offers of the card that it serves as yet; with `dialer`, who connects it.
 * @throws ChassisError NETWORK_UNAVAILABLE; ParcelError for what is no offer
 */
export async function openCard(
  spec: CardSpec,
  reactor: Reactor,
  log: LogMethod,
  given?: Given,
  dialer?: Dialer,
): Promise<ServedDevice> {
  const cable = await openCable(spec, reactor, log, given, dialer);
  return new CardDevice(spec, cable);
}

async function openCable(
  { peer }: CardSpec,
  reactor: Reactor,
  log: LogMethod,
  given: Given | undefined,
  dialer: Dialer | undefined,
): Promise<Cable> {
  const { PLAIN, WITH_HEADER } = StreamFraming;
  const common = { reactor, log, paused: given !== undefined };
  if (dialer && peer.type !== 'tap') {
    const framing = peer.type === 'switch' ? WITH_HEADER : PLAIN;
    const options = { ...common, peer: { name: peer.type, connect: () => dialer.connect() }, framing };
    // What one says that the process before has started is to be read on.
    return new StreamCable(options, peer.type === 'passt' && given ? takePasst(peer, given) : undefined);
  }
  switch (peer.type) {
    case 'switch':
      return new StreamCable({ ...common, peer: unixPeer(peer.socketPath), framing: WITH_HEADER });
    case 'passt': {
      const passt = given ? takePasst(peer, given) : await Passt.start(peer);
      return new StreamCable({ ...common, peer: passt, framing: PLAIN }, passt);
    }
    case 'tap':
      return new TapCable(given ? takeTap(peer.interface, reactor, given) : openTap(peer.interface, reactor));
  }
}

function openTap(name: string, reactor: Reactor): TapBackend {
  try {
    const fd = takeGranted(tapKey(name));
    if (fd === undefined) return new TapBackend({ name, reactor });
    const tap = new TapBackend({ name, reactor, fd });
    tap.resume();
    return tap;
  } catch (error) {
    throw error instanceof HostError ? tapUnavailable(name, error) : error;
  }
}

class CardDevice implements ServedDevice, ServedCard, MovableDevice {
  readonly device: VirtioNet;
  readonly tree = undefined;
  readonly disk = undefined;
  private readonly name: string;
  private readonly backend: CapturedBackend;
  private capture: CardCapture | undefined;

  private readonly cable: Cable;

  constructor({ name, mac, mtu, queuePairs, up }: CardSpec, cable: Cable) {
    this.name = name;
    this.cable = cable;
    this.backend = new CapturedBackend(cable.backend);
    this.device = new VirtioNet(this.backend, { mac, queuePairs, ...(mtu !== undefined && { mtu }) });
    if (!up) this.device.setLink(false);
  }

  get card(): ServedCard {
    return this;
  }

  get movable(): MovableDevice {
    return this;
  }

  offer(parcel: OutgoingParcel): unknown {
    return this.cable.offer(parcel);
  }

  /** A capture ends: its file is the process's. */
  pause(): void {
    this.endCapture();
    this.cable.backend.pause();
  }

  save(parcel: OutgoingParcel): unknown {
    return this.cable.save(parcel);
  }

  restore(given: Given): void {
    this.cable.restore(given);
  }

  resume(): void {
    this.cable.backend.resume();
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
