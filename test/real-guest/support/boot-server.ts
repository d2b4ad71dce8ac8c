import type { Frame } from '../../../devices/net/frame.js';
import type { NetBackend, NetPort } from '../../../devices/net/backends/net-backend.js';
import { bytesOf, frameOf } from '../../devices/net/support/frames.js';
import { BROADCAST, concat, ethernet, mac, packet } from '../../devices/net/support/packets.js';

const SERVER = { mac: '52:54:00:00:00:01', address: Uint8Array.of(10, 9, 0, 1) } as const;
const CLIENT = Uint8Array.of(10, 9, 0, 15);
const EVERYBODY = Uint8Array.of(255, 255, 255, 255);
const EtherType = { IPV4: 0x0800, ARP: 0x0806 } as const;
const ARP_REPLY = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 2);
const Port = { BOOTPS: 67, BOOTPC: 68, TFTP: 69 } as const;
/** Transfers have ports of their own, from here on. */
const FIRST_TRANSFER_PORT = 40_000;

/** RFC 1350 and 2347. */
const TftpOpcode = { RRQ: 1, DATA: 3, ACK: 4, ERROR: 5, OACK: 6 } as const;
/** RFC 2131 and 2132. */
const DHCP_OPTIONS_AT = 240;
const DhcpOption = { NETMASK: 1, LEASE: 51, TYPE: 53, SERVER: 54, END: 255 } as const;
const DhcpType = { DISCOVER: 1, OFFER: 2, REQUEST: 3, ACK: 5 } as const;
/** iPXE's own: do not wait for other servers that might have something to say. */
const NO_PROXY_DHCP = [175, 3, 176, 1, 1];

interface Datagram {
  readonly mac: string;
  readonly source: Uint8Array;
  readonly ports: readonly [from: number, to: number];
  readonly payload: Buffer;
}

interface Transfer {
  readonly bytes: Uint8Array;
  readonly blockBytes: number;
}

/**
 * A station on a network that boots others: it answers ARP, gives out one address and the name of the file to boot by DHCP, and the files by
 * TFTP. A client that lost a packet asks again; nothing is sent unasked.
 */
export class BootServer implements NetPort {
  static readonly url = 'tftp://10.9.0.1';
  readonly #network: NetBackend;
  readonly #files: ReadonlyMap<string, Uint8Array>;
  readonly #transfers: Transfer[] = [];

  /** The first of the files is the one to boot. */
  constructor(network: NetBackend, files: ReadonlyMap<string, Uint8Array>) {
    this.#network = network;
    this.#files = files;
    network.port = this;
  }

  offer(frame: Frame): boolean {
    this.deliver(frame);
    return true;
  }

  deliver(frame: Frame): void {
    const bytes = Buffer.from(bytesOf(frame));
    const type = bytes.readUInt16BE(12);
    if (type === EtherType.ARP) this.#answerArp(bytes);
    if (type !== EtherType.IPV4 || bytes[23] !== 17) return;
    const udpAt = 14 + (bytes[14] & 15) * 4;
    const udpBytes = bytes.readUInt16BE(udpAt + 4);
    this.#datagram({
      mac: macText(bytes.subarray(6, 12)),
      source: bytes.subarray(26, 30),
      ports: [bytes.readUInt16BE(udpAt), bytes.readUInt16BE(udpAt + 2)],
      payload: bytes.subarray(udpAt + 8, udpAt + udpBytes),
    });
  }

  sendable(): void {}

  linkChanged(): void {}

  #datagram(datagram: Datagram): void {
    const [, to] = datagram.ports;
    if (to === Port.BOOTPS) this.#answerDhcp(datagram);
    else if (to === Port.TFTP) this.#startTransfer(datagram);
    else if (to >= FIRST_TRANSFER_PORT) this.#sendBlock(datagram, to);
  }

  #answerArp(bytes: Buffer): void {
    if (bytes[21] !== 1 || !bytes.subarray(38, 42).equals(SERVER.address)) return;
    const [clientMac, client] = [bytes.subarray(22, 28), bytes.subarray(28, 32)];
    const answer = concat(ARP_REPLY, mac(SERVER.mac), SERVER.address, clientMac, client);
    this.#network.send(frameOf(ethernet([macText(clientMac), SERVER.mac], EtherType.ARP, answer)));
  }

  #answerDhcp({ payload }: Datagram): void {
    const asked = payload[dhcpOptionAt(payload, DhcpOption.TYPE)];
    const [boot] = this.#files.keys();
    const answer = Buffer.alloc(DHCP_OPTIONS_AT);
    payload.copy(answer, 0, 0, 44);
    answer[0] = 2;
    answer.set(CLIENT, 16);
    answer.set(SERVER.address, 20);
    answer.write(boot, 108, 'latin1');
    answer.writeUInt32BE(0x63825363, 236);
    const type = asked === DhcpType.DISCOVER ? DhcpType.OFFER : DhcpType.ACK;
    const options = [
      ...[DhcpOption.TYPE, 1, type, DhcpOption.SERVER, 4, ...SERVER.address],
      ...[DhcpOption.LEASE, 4, 0, 0, 255, 255, DhcpOption.NETMASK, 4, 255, 255, 255, 0],
      ...[...NO_PROXY_DHCP, DhcpOption.END],
    ];
    this.#send(BROADCAST, EVERYBODY, [Port.BOOTPS, Port.BOOTPC], concat(answer, Uint8Array.from(options)));
  }

  #startTransfer({ payload, ...client }: Datagram): void {
    if (payload.readUInt16BE(0) !== TftpOpcode.RRQ) return;
    const [name, , ...words] = payload.toString('latin1', 2).split('\0');
    const bytes = this.#files.get(name.replace(/^\//, ''));
    const port = FIRST_TRANSFER_PORT + this.#transfers.length;
    const ports = [port, client.ports[0]] as const;
    if (bytes === undefined) {
      this.#send(client.mac, client.source, ports, tftp(TftpOpcode.ERROR, 1, Buffer.from('no such file\0')));
      return;
    }
    const at = words.indexOf('blksize');
    const blockBytes = at < 0 ? 512 : Number(words[at + 1]);
    this.#transfers.push({ bytes, blockBytes });
    const options = `blksize\0${blockBytes}\0tsize\0${bytes.length}\0`;
    const answer =
      at < 0 ? this.#block(port, 1) : concat(Uint8Array.of(0, TftpOpcode.OACK), Buffer.from(options));
    this.#send(client.mac, client.source, ports, answer);
  }

  #sendBlock({ payload, ...client }: Datagram, port: number): void {
    if (payload.readUInt16BE(0) !== TftpOpcode.ACK) return;
    const { bytes, blockBytes } = this.#transfers[port - FIRST_TRANSFER_PORT];
    const acknowledged = payload.readUInt16BE(2);
    if (acknowledged * blockBytes > bytes.length) return;
    this.#send(client.mac, client.source, [port, client.ports[0]], this.#block(port, acknowledged + 1));
  }

  #block(port: number, number: number): Uint8Array {
    const { bytes, blockBytes } = this.#transfers[port - FIRST_TRANSFER_PORT];
    return tftp(TftpOpcode.DATA, number, bytes.subarray((number - 1) * blockBytes, number * blockBytes));
  }

  #send(to: string, destination: Uint8Array, ports: readonly [number, number], payload: Uint8Array): void {
    const addresses = { source: SERVER.address, destination };
    const { bytes } = packet({ macs: [to, SERVER.mac], addresses, udp: true, tcp: { ports }, payload });
    this.#network.send(frameOf(bytes));
  }
}

function tftp(opcode: number, number: number, rest: Uint8Array): Uint8Array {
  return concat(Uint8Array.of(0, opcode, number >>> 8, number), rest);
}

/** Where an option's value starts. */
function dhcpOptionAt(payload: Uint8Array, option: number): number {
  let at = DHCP_OPTIONS_AT;
  while (at < payload.length && payload[at] !== option) at += payload[at] === 0 ? 1 : 2 + payload[at + 1];
  return at + 2;
}

function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
