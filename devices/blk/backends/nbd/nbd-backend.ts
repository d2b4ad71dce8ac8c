/**
 * A disk on an NBD server: nbdkit, qemu-nbd or another, which bring formats, compression and remote storage.
 *
 * When connections break, requests wait until one can be made again, for a bounded time, and then fail with EIO; new ones fail at
 * once until the server is back. What the server had acknowledged but not brought to its medium is written to it again first, so that
 * a server which lost its cache is no reason to lose data that the guest flushes later.
 */
import { Errno } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import { BlockBackend, PENDING, type BlockCompletion, type BlockLimits } from '../block-backend.js';
import { BlockBackendError } from '../errors.js';
import { NbdConnector } from './connector.js';
import { checkSame, exportLimits, type ExportInfo } from './export-info.js';
import { CONNECTION_LOST, type NbdConnection } from './nbd-connection.js';
import { NbdOperation, NbdOperationKind, type NbdService } from './nbd-operation.js';
import { replay } from './replay.js';
import { UnflushedLog } from './unflushed-log.js';
import { parseNbdUri } from './uri.js';

const DEFAULT_CONNECTIONS = 4;
const MAX_CONNECTIONS = 16;
const DEFAULT_CONNECT_MS = 10_000;
const DEFAULT_REPLY_MS = 60_000;
const DEFAULT_RECONNECT_MS = 30_000;

/** A command is sent on so many connections, beside those that may have broken at the same time, before it is given up. */
const MAX_FRESH_ATTEMPTS = 4;

const EMPTY = new IoVector();

export interface NbdBackendOptions {
  /** `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`. */
  readonly uri: string;
  readonly readOnly?: boolean;
  /** Most connections, where the server allows several; 1 to 16. Default: 4. */
  readonly connections?: number;
  /** How long connecting may take, in milliseconds. Default: 10,000. */
  readonly connectTimeoutMs?: number;
  /** How long a reply may take before the connection counts as lost. Default: 60,000. */
  readonly replyTimeoutMs?: number;
  /** How long requests wait for a lost server before they fail. Default: 30,000. */
  readonly reconnectTimeoutMs?: number;
  /** Takes a line when the server is lost, and when it is back. */
  readonly log: (message: string) => void;
}

/** Where the server stands. */
const Link = {
  up: 0,
  /** No connection, and requests wait for one. */
  lost: 1,
  /** No connection for too long: requests fail. */
  failed: 2,
  closed: 3,
} as const;
type Link = (typeof Link)[keyof typeof Link];

export class NbdBackend extends BlockBackend implements NbdService {
  readonly limits: BlockLimits;
  readonly canFlush: boolean;
  readonly maxAttempts: number;
  readonly #options: NbdBackendOptions;
  readonly #connector: NbdConnector;
  readonly #wanted: number;
  readonly #ready: NbdConnection[] = [];
  readonly #log = new UnflushedLog();
  readonly #idle: NbdOperation[] = [];
  /** Operations that wait for a connection, in the order they came. */
  readonly #waiting: NbdOperation[] = [];
  #info: ExportInfo;
  #sizeBytes: number;
  #link: Link = Link.lost;
  #deadline: NodeJS.Timeout | undefined;
  /** Whether why the server cannot be reached was told since it was lost. */
  #told = false;
  #tidying = false;
  /** Why flushes fail for good: something that had been acknowledged could not be written again. */
  #lost = 0;

  private constructor(options: NbdBackendOptions, info: ExportInfo, connector: NbdConnector) {
    super();
    const { connections = DEFAULT_CONNECTIONS } = options;
    this.#options = options;
    this.#connector = connector;
    this.#info = info;
    this.#sizeBytes = info.sizeBytes;
    this.#wanted = info.canMultiConnect ? connections : 1;
    this.canFlush = info.canFlush;
    this.maxAttempts = this.#wanted + MAX_FRESH_ATTEMPTS;
    this.limits = exportLimits(info, options.readOnly ?? false);
    connector.serve({
      wanted: () => this.#link !== Link.closed && this.#ready.length < this.#wanted,
      connected: (connection) => this.#adopt(connection),
      lost: (connection, reason) => this.#connectionLost(connection, reason),
      failed: (error) => this.#notConnected(error),
    });
  }

  /**
   * Connects to a server's export.
   *
   * @throws BlockBackendError URI_INVALID, NOT_SUPPORTED, BACKEND_MISSING, BACKEND_REFUSED, BACKEND_PROTOCOL, SIZE_INVALID
   */
  static async open(options: NbdBackendOptions): Promise<NbdBackend> {
    const { connections = DEFAULT_CONNECTIONS } = options;
    if (!Number.isInteger(connections) || connections < 1 || connections > MAX_CONNECTIONS) {
      throw new RangeError(`a server has 1 to ${MAX_CONNECTIONS} connections, not ${connections}`);
    }
    const connector = new NbdConnector(parseNbdUri(options.uri), {
      connectMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_MS,
      replyMs: options.replyTimeoutMs ?? DEFAULT_REPLY_MS,
    });
    // What the export is like decides what the backend is like: so the first connection comes before it.
    const first = await connector.open();
    const backend = new NbdBackend(options, first.info, connector);
    backend.#use(first);
    return backend;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Blocks that requests to the server are made of, in bytes. */
  get minimumBlockBytes(): number {
    return this.#info.minimumBlockBytes;
  }

  /** Connections that can be used now. */
  get connections(): number {
    return this.#ready.length;
  }

  get sequence(): number {
    return this.#log.sequence;
  }

  read(offsetBytes: number, into: IoVector, completion: BlockCompletion): number {
    return this.#start(
      this.#operation(NbdOperationKind.read, offsetBytes, into.byteLength, into, completion),
    );
  }

  write(offsetBytes: number, from: IoVector, durable: boolean, completion: BlockCompletion): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    const operation = this.#operation(NbdOperationKind.write, offsetBytes, from.byteLength, from, completion);
    operation.durable = durable;
    return this.#start(operation);
  }

  writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    completion: BlockCompletion,
  ): number {
    if (this.limits.readOnly) return -Errno.EROFS;
    const operation = this.#operation(NbdOperationKind.zeroes, offsetBytes, lengthBytes, EMPTY, completion);
    operation.mayUnmap = mayUnmap;
    return this.#start(operation);
  }

  override discard(offsetBytes: number, lengthBytes: number, completion: BlockCompletion): number {
    if (this.limits.discard === undefined) return -Errno.EOPNOTSUPP;
    return this.#start(this.#operation(NbdOperationKind.trim, offsetBytes, lengthBytes, EMPTY, completion));
  }

  /** A server without a flush has nothing to flush: what it acknowledges is safe, as far as it says. */
  flush(completion: BlockCompletion): number {
    if (this.#lost !== 0) return this.#lost;
    if (this.limits.readOnly || !this.canFlush) return 0;
    return this.#start(this.#operation(NbdOperationKind.flush, 0, 0, EMPTY, completion));
  }

  /** A server says how large its export is when one connects: so this makes a connection, and new ones of all if it has changed. */
  override async refreshSize(): Promise<number> {
    let probe: NbdConnection;
    try {
      probe = await this.#connector.open();
    } catch {
      return -Errno.EIO;
    }
    if (this.#link === Link.closed || probe.info.sizeBytes === this.#sizeBytes) {
      await probe.close();
      return 0;
    }
    // The others may hold on to the old size. What is under way on them is sent again.
    for (const connection of [...this.#ready]) connection.destroy('the export was resized');
    try {
      await this.#adopt(probe);
      return 0;
    } catch {
      probe.destroy('it is not used');
      return -Errno.EIO;
    }
  }

  override abandon(): void {
    this.#failWaiting(-Errno.ECANCELED);
  }

  async close(): Promise<void> {
    this.#link = Link.closed;
    clearTimeout(this.#deadline);
    this.#failWaiting(-Errno.ECANCELED);
    const connections = this.#ready.splice(0);
    await Promise.all([this.#connector.close(), ...connections.map((connection) => connection.close())]);
  }

  submit(operation: NbdOperation): void {
    if (this.#link === Link.closed) return this.ended(operation, -Errno.ECANCELED);
    if (this.#link === Link.failed) return this.ended(operation, -Errno.EIO);
    // Sent before the export became smaller, and to be sent again after.
    if (operation.endBytes > this.#sizeBytes) return this.ended(operation, -Errno.EIO);
    const connection = this.#leastBusy();
    if (connection === undefined) this.#waiting.push(operation);
    else operation.sendOn(connection);
  }

  keep(operation: NbdOperation, offsetBytes: number, lengthBytes: number): boolean {
    const log = this.#log;
    const kept =
      operation.kind === NbdOperationKind.zeroes
        ? log.addZeroes(offsetBytes, lengthBytes)
        : log.addWrite(offsetBytes, operation.vector, operation.doneBytes, lengthBytes);
    if (log.isFilling) this.#tidy();
    return kept;
  }

  flushed(sequence: number): void {
    this.#log.flushed(sequence);
  }

  ended(operation: NbdOperation, result: number): void {
    const { completion, kind } = operation;
    this.#idle.push(operation);
    const lostData = kind === NbdOperationKind.flush && result === 0 && this.#lost !== 0;
    completion.complete(lostData ? this.#lost : result);
  }

  #operation(
    kind: NbdOperationKind,
    offsetBytes: number,
    lengthBytes: number,
    vector: IoVector,
    completion: BlockCompletion,
  ): NbdOperation {
    const operation = this.#idle.pop() ?? new NbdOperation(this);
    operation.prepare(kind, offsetBytes, lengthBytes, vector, completion);
    return operation;
  }

  #start(operation: NbdOperation): number {
    const unusable = this.#link === Link.failed || this.#link === Link.closed;
    if (unusable || operation.endBytes > this.#sizeBytes) {
      this.#idle.push(operation);
      return -Errno.EIO;
    }
    this.submit(operation);
    return PENDING;
  }

  /** Makes room in the log, unless that is being done. */
  #tidy(): void {
    if (this.#tidying) return;
    this.#tidying = true;
    const tidied = { complete: () => (this.#tidying = false) };
    this.submit(this.#operation(NbdOperationKind.flush, 0, 0, EMPTY, tidied));
  }

  #leastBusy(): NbdConnection | undefined {
    let best: NbdConnection | undefined;
    for (const connection of this.#ready) {
      if (best === undefined || connection.inFlight < best.inFlight) best = connection;
    }
    return best;
  }

  /** Takes a new connection into use, once the server has what it may have lost. */
  async #adopt(connection: NbdConnection): Promise<void> {
    const others = this.#ready.length > 0;
    checkSame(this.#info, connection.info, others);
    if (!others && !this.#log.isEmpty) await this.#giveBack(connection);
    if (this.#link === Link.closed) throw new BlockBackendError('BACKEND_BUSY', 'the disk was closed');
    this.#use(connection);
  }

  /** @throws BlockBackendError where the connection broke meanwhile */
  async #giveBack(connection: NbdConnection): Promise<void> {
    const result = await replay(this.#log, connection);
    if (result === CONNECTION_LOST) throw new BlockBackendError('BACKEND_MISSING', 'it is gone again');
    if (result === 0) return;
    this.#options.log('the NBD server does not take back what it may have lost: no flush succeeds any more');
    this.#lost = -Errno.EIO;
    this.#log.flushed(this.#log.sequence);
  }

  #use(connection: NbdConnection): void {
    if (this.#deadline !== undefined) this.#options.log('the NBD server is back');
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#told = false;
    this.#link = Link.up;
    this.#ready.push(connection);
    this.#info = connection.info;
    const resized = connection.info.sizeBytes !== this.#sizeBytes;
    this.#sizeBytes = connection.info.sizeBytes;
    for (const operation of this.#waiting.splice(0)) this.submit(operation);
    if (resized) this.sizeChanged();
    this.#connector.start();
  }

  #connectionLost(connection: NbdConnection, reason: string): void {
    const at = this.#ready.indexOf(connection);
    if (at < 0) return;
    this.#ready.splice(at, 1);
    if (this.#link === Link.closed) return;
    if (this.#ready.length === 0) {
      this.#link = Link.lost;
      this.#options.log(`the NBD server is gone: ${reason}`);
      const timeoutMs = this.#options.reconnectTimeoutMs ?? DEFAULT_RECONNECT_MS;
      this.#deadline = setTimeout(() => this.#giveUp(), timeoutMs);
    }
    this.#connector.start();
  }

  /** Told once an outage; what goes wrong with further connections while one works is of no consequence. */
  #notConnected(error: Error): void {
    if (this.#link !== Link.lost || this.#told) return;
    this.#told = true;
    this.#options.log(`cannot reach the NBD server again yet: ${error.message}`);
  }

  #giveUp(): void {
    this.#link = Link.failed;
    this.#options.log('the NBD server did not come back in time: requests fail until it does');
    this.#failWaiting(-Errno.EIO);
  }

  #failWaiting(result: number): void {
    for (const operation of this.#waiting.splice(0)) this.ended(operation, result);
  }
}
