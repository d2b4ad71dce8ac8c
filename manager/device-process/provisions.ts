/** What the daemon gives a confined process of the host: what requests name, opened, and connections, made. */
import { closeFd } from '../../host/index.js';
import type { ChassisPaths } from '../control/state-directory.js';
import { PEERS, sendGrant } from './grant-channel.js';
import { closeAll, openDirectories, openFor, type CloneMount, type Opened } from './grants.js';
import { peerKey } from './host-paths.js';
import { connectTo, PeerBook, peerOf, type Peer } from './peers.js';
import type { FunctionSpec } from './protocol.js';

export class Provisions {
  /** Where the process is asked now. */
  controlSocket: string;
  /** It sees nothing of the host's but what it is given. */
  confined = false;
  readonly #paths: ChassisPaths;
  readonly #peers: PeerBook;
  readonly #clone: CloneMount;
  readonly #dialing = new Set<string>();
  #last = 0;

  constructor(paths: ChassisPaths, clone: CloneMount, peers = new PeerBook(paths.peers)) {
    this.#paths = paths;
    this.#clone = clone;
    this.#peers = peers;
    this.controlSocket = paths.deviceSocket;
  }

  /** The same, for a process that is to go on with all functions. */
  forNext(): Provisions {
    return new Provisions(this.#paths, this.#clone, this.#peers);
  }

  /** The process is new, and has no functions. */
  begin(): void {
    this.#peers.clear();
  }

  /**
   * Gives what a request takes, and answers its number; undefined where it takes nothing.
   * @throws ChassisError SOURCE_UNREADABLE, NETWORK_UNAVAILABLE; Error where the process does not take it
   */
  async give(method: string, params: unknown): Promise<number | undefined> {
    if (method === 'addFunction') return this.#giveFunction(params as FunctionSpec);
    if (method === 'removeFunction') this.#peers.delete((params as { readonly function: string }).function);
    return this.confined ? this.send(await openFor(method, params, this.#clone)) : undefined;
  }

  /** As `send`, of the directories of mounts. @throws ChassisError SOURCE_UNREADABLE */
  async giveDirectories(paths: readonly string[]): Promise<number | undefined> {
    return this.confined ? this.send(await openDirectories(paths, this.#clone)) : undefined;
  }

  /** Gives descriptors, which are closed here, and answers their number; undefined for none. @throws Error */
  async send(opened: Opened): Promise<number | undefined> {
    if (opened.size === 0) return undefined;
    try {
      const grant = ++this.#last;
      await sendGrant(this.controlSocket, grant, opened);
      return grant;
    } finally {
      closeAll(opened);
    }
  }

  /** Connects a function again, whose connection is lost. One at a time: it asks again. */
  async connectAgain(fn: string): Promise<void> {
    const peer = this.#peers.get(fn);
    if (!this.confined || peer === undefined || this.#dialing.has(fn)) return;
    this.#dialing.add(fn);
    try {
      const fd = await this.#connect(peer);
      try {
        // It may be another function by now, with another peer.
        if (this.#peers.get(fn) === peer) await sendGrant(this.controlSocket, PEERS, new Map([[fn, fd]]));
      } finally {
        closeFd(fd);
      }
    } catch {
      // Nobody is there yet, or the process is not any more: it asks again, if it lives.
    } finally {
      this.#dialing.delete(fn);
    }
  }

  async #giveFunction(spec: FunctionSpec): Promise<number | undefined> {
    const peer = peerOf(spec.device);
    if (peer) this.#peers.set(spec.function, peer);
    if (!this.confined) return undefined;
    const opened = await openFor('addFunction', spec, this.#clone);
    const fd = peer && (await this.#firstConnection(peer, opened));
    if (fd !== undefined) opened.set(peerKey(spec.function), fd);
    return this.send(opened);
  }

  /** A network that cannot be had is an error; a server that is not there is for the function to wait for, or to complain of. */
  async #firstConnection(peer: Peer, opened: Opened): Promise<number | undefined> {
    try {
      return await this.#connect(peer);
    } catch (error) {
      if (peer.type !== 'passt') return undefined;
      closeAll(opened);
      throw error;
    }
  }

  #connect(peer: Peer): Promise<number> {
    return connectTo(peer, this.#paths.passtLog);
  }
}
