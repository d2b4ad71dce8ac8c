/**
 * A peer that is connected to, and connected to again when it goes: passt, which brings user-mode networking without root, a switch in
 * another process, or another QEMU.
 */
import { connectUnix, HostError, MAX_SOCKET_PATH_BYTES } from '../../../../host/index.js';
import { StreamConnection, type StreamConnectionOptions } from './stream-connection.js';

/** Who is connected to. */
export interface StreamPeer {
  readonly name: string;
  /** A connected, non-blocking socket, which is the caller's. @throws HostError where there is none now */
  connect(): number;
  /** The peer is not wanted any more. */
  close?(): void;
}

export interface StreamBackendOptions extends Omit<StreamConnectionOptions, 'name'> {
  readonly peer: StreamPeer;
  /** Another process is connected to it as yet: the backend is paused at first. */
  readonly paused?: boolean;
}

const RETRY_MS = { first: 100, longest: 5000 } as const;

/** Whoever listens at a unix socket. @throws RangeError for a path that is too long for any socket */
export function unixPeer(path: string): StreamPeer {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new RangeError(`a socket's path has up to ${MAX_SOCKET_PATH_BYTES} bytes: ${path}`);
  }
  return { name: path, connect: () => connectUnix(path) };
}

export class StreamBackend extends StreamConnection {
  readonly #peer: StreamPeer;
  readonly #log: (message: string) => void;
  #retryMs: number = RETRY_MS.first;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ended = false;
  /** Why the last attempt to connect failed. */
  #lastFailure = '';

  /** Connects at once if the peer is there, and again and again while it is not. */
  constructor(options: StreamBackendOptions) {
    super({ ...options, name: options.peer.name });
    this.#peer = options.peer;
    this.#log = options.log;
    if (options.paused !== true) this.#connect();
  }

  override pause(): void {
    clearTimeout(this.#retry);
    super.pause();
  }

  override resume(): void {
    super.resume();
    if (!this.linkUp) this.#connect();
  }

  override close(): void {
    this.#ended = true;
    clearTimeout(this.#retry);
    super.close();
    this.#peer.close?.();
  }

  protected override heard(): void {
    this.#retryMs = RETRY_MS.first;
  }

  protected override disconnected(): void {
    if (!this.#ended) this.#retryLater();
  }

  #connect(): void {
    let fd: number;
    try {
      fd = this.#peer.connect();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      if (error.code !== this.#lastFailure) this.#log(`${error.message}; it is tried again`);
      this.#lastFailure = error.code;
      this.#retryLater();
      return;
    }
    this.#lastFailure = '';
    this.adopt(fd);
  }

  #retryLater(): void {
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS.longest);
  }
}
