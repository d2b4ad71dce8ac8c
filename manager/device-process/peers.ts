/** To whom the functions of a confined process are connected: the daemon knows it, whatever the process says, and so does the next daemon. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { Type, type Static } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { parseNbdUri } from '../../devices/blk/backends/nbd/uri.js';
import { connectUnix, duplicateFd } from '../../host/index.js';
import { PasstNetwork } from '../control/api.js';
import { connectPasst } from './passt-launch.js';
import type { DeviceSpec } from './protocol.js';

const Peer = Type.Union([
  Type.Object({ type: Type.Literal('switch'), socketPath: Type.String() }),
  Type.Object({ type: Type.Literal('nbd'), uri: Type.String() }),
  PasstNetwork,
]);
export type Peer = Static<typeof Peer>;
const Peers = Type.Record(Type.String(), Peer);

const CONNECT_MS = 5000;

/** Whom a device is connected to, if anybody. */
export function peerOf(device: DeviceSpec): Peer | undefined {
  if (device.type === 'disk') return device.source.type === 'nbd' ? device.source : undefined;
  return device.type === 'card' && device.peer.type !== 'tap' ? device.peer : undefined;
}

/** A connected socket, which is the caller's. `logPath` takes what a program says that is started for it. @throws Error, ChassisError */
export function connectTo(peer: Peer, logPath: string): Promise<number> {
  if (peer.type === 'passt') return connectPasst(peer, logPath);
  if (peer.type === 'nbd') return connectNbd(peer.uri);
  return Promise.resolve(connectUnix(peer.socketPath));
}

async function connectNbd(uri: string): Promise<number> {
  const socket = connect(parseNbdUri(uri).server);
  // What the server says first is for the process.
  socket.pause();
  try {
    await connected(socket);
    // Node has no other way to the descriptor of a socket.
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    return duplicateFd(fd);
  } finally {
    socket.destroy();
  }
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.on('error', reject);
    socket.setTimeout(CONNECT_MS, () => reject(new Error('it does not answer')));
  });
}

/** By function, kept in a file. */
export class PeerBook {
  readonly #path: string;
  readonly #peers: Map<string, Peer>;

  constructor(path: string) {
    this.#path = path;
    this.#peers = new Map(Object.entries(read(path)));
  }

  get(fn: string): Peer | undefined {
    return this.#peers.get(fn);
  }

  set(fn: string, peer: Peer): void {
    this.#peers.set(fn, peer);
    this.#write();
  }

  delete(fn: string): void {
    if (this.#peers.delete(fn)) this.#write();
  }

  /** A process that has no functions yet. */
  clear(): void {
    this.#peers.clear();
    rmSync(this.#path, { force: true });
  }

  #write(): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    writeFileSync(`${this.#path}.new`, JSON.stringify(Object.fromEntries(this.#peers)), { mode: 0o600 });
    renameSync(`${this.#path}.new`, this.#path);
  }
}

function read(path: string): Static<typeof Peers> {
  try {
    const peers: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return Value.Check(Peers, peers) ? peers : {};
  } catch {
    return {};
  }
}
