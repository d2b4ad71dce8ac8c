/**
 * A TAP device of the host: the other end of the cable is a network interface, to be bridged, routed or used by programs. The
 * kernel speaks struct virtio_net_hdr too, so that frames pass with what is left to do to them.
 */
import {
  closeTap,
  EpollEvents,
  openTap,
  TAP_HEADER_BYTES,
  TapOffload,
  tapRead,
  tapSetOffloads,
  tapWrite,
  type Reactor,
} from '../../../../host/index.js';
import { Frame, MAX_FRAME_BYTES, Offload } from '../../frame.js';
import { readHeader, writeHeader } from '../../header.js';
import { FrameLayout } from '../../offload/layout.js';
import { isSound } from '../../offload/soundness.js';
import { VirtioNetHdrGso } from '../../protocol.js';
import { NetBackend } from '../net-backend.js';

export interface TapBackendOptions {
  /** The interface's name, up to 15 characters. Made where it does not exist and the process may. */
  readonly name: string;
  /** The device as another process had it open until now: the backend is paused at first. */
  readonly fd?: number;
  readonly reactor: Reactor;
}

/** Frames taken at one look; others get their turn then. */
const FRAMES_PER_TURN = 64;
const ALL_READ = -1;

const TAP_OFFLOADS: readonly (readonly [offload: number, tap: number])[] = [
  [Offload.CSUM, TapOffload.TUN_F_CSUM],
  [Offload.TSO4, TapOffload.TUN_F_TSO4],
  [Offload.TSO6, TapOffload.TUN_F_TSO6],
  [Offload.ECN, TapOffload.TUN_F_TSO_ECN],
];
/** Linux 6.2 and later take these, and only both at once. */
const TAP_USO = TapOffload.TUN_F_USO4 | TapOffload.TUN_F_USO6;
const USO = Offload.USO4 | Offload.USO6;

export class TapBackend extends NetBackend {
  readonly #reactor: Reactor;
  readonly #fd: number;
  readonly #in = new Uint8Array(TAP_HEADER_BYTES + MAX_FRAME_BYTES);
  readonly #inView = new DataView(this.#in.buffer);
  readonly #out = new Uint8Array(TAP_HEADER_BYTES + MAX_FRAME_BYTES);
  readonly #outView = new DataView(this.#out.buffer);
  readonly #frame = new Frame();
  readonly #layout = new FrameLayout();
  /** The frame that was read last is still to be delivered, and nothing is read meanwhile. */
  #resting = false;
  #open = true;
  #failedWrites = 0;

  /** @throws HostError where the device cannot be opened */
  constructor(options: TapBackendOptions) {
    super();
    this.#reactor = options.reactor;
    this.#fd = options.fd ?? openTap(options.name);
    if (options.fd === undefined) this.#watch();
  }

  /** For a process that is to take the device over. */
  get fd(): number {
    return this.#fd;
  }

  /** What was read last, with its header, where it is still to be delivered; empty otherwise. */
  get undelivered(): Uint8Array {
    return this.#in.slice(0, this.#resting ? TAP_HEADER_BYTES + this.#frame.byteLength : 0);
  }

  /** Delivers first what another process has read. False for what is no frame. */
  restore(undelivered: Uint8Array): boolean {
    if (undelivered.length === 0) return true;
    if (undelivered.length > this.#in.length) return false;
    this.#in.set(undelivered);
    this.#resting = this.#parse(undelivered.length - TAP_HEADER_BYTES) > 0;
    return this.#resting;
  }

  pause(): void {
    if (this.#open) this.#reactor.remove(this.#fd);
  }

  resume(): void {
    if (!this.#open) return;
    this.#watch();
    if (this.#resting) this.roomForMore();
  }

  /** Down once the interface has been removed: it does not come back under this descriptor. */
  get linkUp(): boolean {
    return this.#open;
  }

  /** Frames that the interface did not take: it is down, as a rule. */
  get failedWrites(): number {
    return this.#failedWrites;
  }

  send(frame: Frame): boolean {
    if (!this.#open) return true;
    const isParsed = frame.gsoType !== VirtioNetHdrGso.VIRTIO_NET_HDR_GSO_NONE && this.#layout.parse(frame);
    writeHeader(this.#outView, frame, isParsed ? this.#layout.payloadOffset : 0, 0);
    const length = frame.data.gather(0, this.#out, TAP_HEADER_BYTES, MAX_FRAME_BYTES);
    if (tapWrite(this.#fd, this.#out, TAP_HEADER_BYTES + length) < 0) this.#failedWrites++;
    return true;
  }

  override roomForMore(): void {
    if (!this.#resting || !this.#open || !this.port.offer(this.#frame)) return;
    this.#resting = false;
    this.#reactor.modify(this.#fd, EpollEvents.EPOLLIN);
  }

  #watch(): void {
    const events = this.#resting ? 0 : EpollEvents.EPOLLIN;
    this.#reactor.add(this.#fd, events, (ready) => this.#ready(ready));
  }

  /** What the kernel does not leave undone it does itself; where it knows no USO, it is not asked for that. */
  override acceptsChanged(offloads: number): void {
    if (!this.#open) return;
    const bits = TAP_OFFLOADS.reduce((all, [offload, tap]) => (offloads & offload ? all | tap : all), 0);
    const withUso = (offloads & USO) === USO ? bits | TAP_USO : bits;
    if (tapSetOffloads(this.#fd, withUso) !== 0) tapSetOffloads(this.#fd, bits);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#reactor.remove(this.#fd);
    closeTap(this.#fd);
  }

  /** An error is the interface's removal, of which the descriptor would tell again and again. */
  #ready(events: number): void {
    if ((events & EpollEvents.EPOLLERR) === 0) {
      this.#read();
      return;
    }
    this.close();
    this.port.linkChanged();
  }

  #read(): void {
    for (let frames = 0; frames < FRAMES_PER_TURN && this.#open; frames++) {
      const length = this.#readFrame();
      if (length === ALL_READ) return;
      if (length === 0 || this.port.offer(this.#frame)) continue;
      this.#resting = true;
      this.#reactor.modify(this.#fd, 0);
      return;
    }
  }

  /** Answers the frame's length, 0 for one that is to be left out, or ALL_READ. */
  #readFrame(): number {
    const bytes = tapRead(this.#fd, this.#in);
    return bytes < 0 ? ALL_READ : this.#parse(bytes - TAP_HEADER_BYTES);
  }

  /** Makes what has been read the frame; 0 for what is to be left out. */
  #parse(length: number): number {
    const frame = this.#frame;
    frame.clear();
    if (length <= 0) return 0;
    frame.data.push(this.#in, TAP_HEADER_BYTES, length, 0);
    readHeader(this.#inView, frame);
    return isSound(frame, this.#layout) ? length : 0;
  }
}
