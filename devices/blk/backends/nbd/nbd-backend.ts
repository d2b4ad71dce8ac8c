/**
 * A disk on an NBD server: nbdkit, qemu-nbd or another, which bring formats, compression and remote storage.
 *
 * When connections break, requests wait until one can be made again, for a bounded time, and then fail with EIO; new ones fail at
 * once until the server is back. What the server had acknowledged but not brought to its medium is written to it again first, so that
 * a server which lost its cache is no reason to lose data that the guest flushes later.
 */
import { closeFd } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import { BlockBackend, PENDING, type BlockCompletion, type BlockLimits } from '../block-backend.js';
import { BlockBackendError } from '../errors.js';
import { MAX_CONNECTIONS, NbdConnector, type ConnectorOptions } from './connector.js';
import { checkSame, exportLimits, type ExportInfo } from './export-info.js';
import { CONNECTION_LOST, type NbdConnection } from './nbd-connection.js';
import { NbdOperation, NbdOperationKind, type NbdService } from './nbd-operation.js';
import { replay } from './replay.js';
import { UnflushedLog } from './unflushed-log.js';

const DEFAULT_RECONNECT_MS = 30_000;

/** A command is sent on so many connections, beside those that may have broken at the same time, before it is given up. */
const MAX_FRESH_ATTEMPTS = 4;

const EMPTY = new IoVector();

export interface NbdBackendOptions extends ConnectorOptions {
  readonly readOnly?: boolean;
  /** How long requests wait for a lost server before they fail. Default: 30,000. */
  readonly reconnectTimeoutMs?: number;
  /** Takes a line when the server is lost, and when it is back. */
  readonly log: (message: string) => void;
}

/** A connection to the server as one process tells it to another: the descriptor, and what was agreed on. */
export interface GivenConnection {
  readonly descriptor: number;
  readonly info: ExportInfo;
}

/** What another process needs to go on. */
export interface SavedNbd {
  readonly connections: readonly GivenConnection[];
  /** Of UnflushedLog. */
  readonly unflushed: Uint8Array;
  readonly sizeBytes: number;
  /** Why flushes fail for good, or 0. */
  readonly failure: number;
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
  /** What the server said when the disk was opened, from which its limits follow. */
  readonly opened: ExportInfo;
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
  /** A hand-over is under way: no connection is made, and nothing is written by itself. */
  #standing = false;
  /** What the server may have lost is being written again on it. */
  #joining: NbdConnection | undefined;
  /** Connections of another process, until `goOn`. */
  #given: GivenConnection[] = [];
  /** Why flushes fail for good: something that had been acknowledged could not be written again. */
  #lost = 0;

  private constructor(options: NbdBackendOptions, info: ExportInfo, connector: NbdConnector) {
    super();
    this.#options = options;
    this.#connector = connector;
    this.opened = info;
    this.#info = info;
    this.#sizeBytes = info.sizeBytes;
    this.#wanted = info.canMultiConnect ? connector.most : 1;
    this.canFlush = info.canFlush;
    this.maxAttempts = this.#wanted + MAX_FRESH_ATTEMPTS;
    this.limits = exportLimits(info, options.readOnly ?? false);
    connector.serve({
      wanted: () => !this.#standing && this.#link !== Link.closed && this.#ready.length < this.#wanted,
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
    const connector = new NbdConnector(options);
    // What the export is like decides what the backend is like: so the first connection comes before it.
    const first = await connector.open();
    const backend = new NbdBackend(options, first.info, connector);
    backend.#use(first);
    return backend;
  }

  /**
   * What another process has open, whose `opened` this is. It connects to nothing before `goOn`, for which `restore` is to come.
   *
   * @throws BlockBackendError URI_INVALID, NOT_SUPPORTED
   */
  static takeOver(options: NbdBackendOptions, opened: ExportInfo): NbdBackend {
    const backend = new NbdBackend(options, opened, new NbdConnector(options));
    backend.#standing = true;
    return backend;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
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

  /** For another process to go on: nothing is sent or received from now on until `goOn`. None of its users' calls is under way. */
  standStill(): void {
    this.#standing = true;
    this.#joining?.destroy('another process goes on');
    for (const connection of this.#ready) connection.standStill();
  }

  /**
   * Once it stands still. A connection with something under way, which is a flush that nobody waits for, is left out: what it would have
   * flushed is still among the writes that are kept.
   */
  save(): SavedNbd {
    const idle = this.#ready.filter(({ inFlight }) => inFlight === 0);
    const connections = idle.map(({ descriptor, info }) => ({ descriptor, info }));
    return { connections, unflushed: this.#log.save(), sizeBytes: this.#sizeBytes, failure: this.#lost };
  }

  /** Owns the descriptors from now on. False where that cannot be what another process saved. */
  restore({ connections, unflushed, sizeBytes, failure }: SavedNbd): boolean {
    for (const { descriptor } of this.#given) closeFd(descriptor);
    this.#given = [...connections];
    this.#sizeBytes = sizeBytes;
    this.#lost = failure;
    return connections.length <= MAX_CONNECTIONS && this.#log.restore(unflushed);
  }

  /** Goes on after `standStill`, or begins after `restore`. */
  goOn(): void {
    for (const connection of this.#ready) connection.goOn();
    for (const { descriptor, info } of this.#given.splice(0))
      this.#use(this.#connector.takeOver(descriptor, info));
    if (this.#ready.length === 0) this.#isWithoutServer();
    this.#standing = false;
    this.#connector.start();
  }

  override abandon(): void {
    this.#failWaiting(-Errno.ECANCELED);
  }

  async close(): Promise<void> {
    this.#link = Link.closed;
    clearTimeout(this.#deadline);
    this.#failWaiting(-Errno.ECANCELED);
    for (const { descriptor } of this.#given.splice(0)) closeFd(descriptor);
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
    if (this.#standing) throw new BlockBackendError('BACKEND_BUSY', 'another process goes on');
    if (!others && !this.#log.isEmpty) await this.#giveBack(connection);
    if (this.#link === Link.closed) throw new BlockBackendError('BACKEND_BUSY', 'the disk was closed');
    this.#use(connection);
  }

  /** @throws BlockBackendError where the connection broke meanwhile */
  async #giveBack(connection: NbdConnection): Promise<void> {
    this.#joining = connection;
    const result = await replay(this.#log, connection);
    this.#joining = undefined;
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
      this.#options.log(`the NBD server is gone: ${reason}`);
      this.#isWithoutServer();
    }
    this.#connector.start();
  }

  /** Requests wait, for as long as that is bearable. */
  #isWithoutServer(): void {
    if (this.#link === Link.failed || this.#deadline !== undefined) return;
    this.#link = Link.lost;
    const timeoutMs = this.#options.reconnectTimeoutMs ?? DEFAULT_RECONNECT_MS;
    this.#deadline = setTimeout(() => this.#giveUp(), timeoutMs);
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
