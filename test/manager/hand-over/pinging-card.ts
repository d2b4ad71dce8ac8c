/** A network card's driver that sends frames to a switch which sends each of them back. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import type { Reactor } from '../../../host/index.js';
import { GUEST_BASE, GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import { Feature, memTable, RawFrontEnd, Request } from '../ports/vhost-user/raw-front-end.js';

/** struct virtio_net_hdr with num_buffers: all of it 0, no offloads. */
const HEADER_BYTES = 12;
const FRAME_BYTES = 64;
const BROADCAST = Buffer.alloc(6, 0xff);
const SENDER = Buffer.from([0x52, 0x54, 0, 0, 0, 1]);
const ETHERTYPE_LOCAL = Buffer.from([0x88, 0xb5]);
const RECEIVED_AT = 0x38000;
const SENT_AT = 0x58000;
const ROOM_BYTES = 2048;

export class EchoSwitch {
  connections = 0;
  readonly path: string;
  private readonly server: Server;

  private constructor(path: string) {
    this.path = path;
    this.server = createServer((socket) => {
      this.connections++;
      socket.pipe(socket);
    });
  }

  static async start(path: string): Promise<EchoSwitch> {
    const echo = new EchoSwitch(path);
    await once(echo.server.listen(path), 'listening');
    return echo;
  }

  close(): void {
    this.server.close();
  }
}

export class PingingCard {
  private readonly ram: GuestRam;
  private readonly receive: TestQueue;
  private readonly transmit: TestQueue;
  private sent = 0;

  private constructor(ram: GuestRam, receive: TestQueue, transmit: TestQueue) {
    this.ram = ram;
    this.receive = receive;
    this.transmit = transmit;
  }

  static async start(reactor: Reactor, socketPath: string): Promise<PingingCard> {
    const ram = new GuestRam('card');
    const features = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
    const frontEnd = await new RawFrontEnd(reactor, socketPath).negotiate(features);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    const receive = new TestQueue(reactor, ram);
    const transmit = new TestQueue(reactor, ram, 1);
    await receive.start(frontEnd);
    await transmit.start(frontEnd);
    return new PingingCard(ram, receive, transmit);
  }

  /** Sends frames, one after the other, each once the one before has come back as it was. */
  async pings(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const frame = this.nextFrame();
      const received = this.received();
      this.ram.bytes.set(Buffer.concat([Buffer.alloc(HEADER_BYTES), frame]), SENT_AT);
      this.transmit.driver.add([{ address: GUEST_BASE + SENT_AT, length: HEADER_BYTES + FRAME_BYTES }]);
      const sent = this.transmit.used();
      this.transmit.kick();
      let echo = await received;
      await sent;
      // A kernel's bridge has announcements of its own to make.
      while (!echo.subarray(12, 14).equals(ETHERTYPE_LOCAL)) echo = await this.received();
      if (!echo.equals(frame)) throw new Error(`frame ${this.sent} came back as ${echo.toString('hex')}`);
    }
  }

  /** Gives the card a buffer, and answers the frame that it puts there. */
  private async received(): Promise<Buffer> {
    this.receive.driver.add([{ address: GUEST_BASE + RECEIVED_AT, length: ROOM_BYTES, writable: true }]);
    const used = this.receive.used();
    this.receive.kick();
    const [{ length }] = await used;
    return Buffer.from(this.ram.bytes.slice(RECEIVED_AT + HEADER_BYTES, RECEIVED_AT + length));
  }

  private nextFrame(): Buffer {
    const frame = Buffer.alloc(FRAME_BYTES, 0x2e);
    Buffer.concat([BROADCAST, SENDER, ETHERTYPE_LOCAL]).copy(frame);
    frame.writeUInt32BE(++this.sent, 14);
    return frame;
  }
}
