/**
 * How what the daemon opened gets to a confined process: at a socket beside that for its requests, one message a connection. The request that
 * it is for names it by number, and waits for it.
 */
import { lstatSync, renameSync, unlinkSync } from 'node:fs';
import { Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import {
  closeFd,
  connectUnix,
  EpollEvents,
  listenUnix,
  acceptConnection,
  type Reactor,
} from '../../host/index.js';
import type { LogMethod } from '../logging/log.js';
import { ChannelError, HandOverChannel, type Watcher } from './hand-over/channel.js';
import { OutgoingParcel } from './hand-over/parcel.js';
import { grantPaths } from './host-paths.js';

const Grant = Type.Object({
  /** Of the request; 0 for sockets that functions asked for, by their names. */
  grant: Type.Integer({ minimum: 0 }),
  /** Numbers of descriptors, by what each is looked up by. */
  paths: Type.Record(Type.String(), Type.Integer({ minimum: 0 })),
});
const GRANT = 1;
/** The daemon sends it first, and the request then. */
const PATIENCE_MS = 5000;
/** How often a socket that takes no more is tried. */
const TRY_MS = 1;

/** `device.sock` → `device.fds` */
export function grantSocket(controlSocket: string): string {
  return controlSocket.replace(/\.sock$/, '.fds');
}

/** What tells nothing, and lets one try again soon: the daemon, which sends seldom and little, waits for no sockets otherwise. */
export const TRYING: Watcher = {
  add: (fd, events, handler) => {
    setTimeout(() => handler(events, fd), TRY_MS);
    return 0;
  },
  modify: () => 0,
  remove: () => 0,
};

/** The descriptors stay the caller's. @throws HostError, ChannelError where the process is not there */
export async function sendGrant(
  controlSocket: string,
  grant: number,
  opened: ReadonlyMap<string, number>,
): Promise<void> {
  const channel = new HandOverChannel(connectUnix(grantSocket(controlSocket)), TRYING);
  try {
    const parcel = new OutgoingParcel();
    const paths = Object.fromEntries(Array.from(opened, ([path, fd]) => [path, parcel.addFd(fd)]));
    await channel.send(GRANT, { grant, paths }, parcel);
  } finally {
    channel.close();
  }
}

export interface GrantReceiverOptions {
  readonly controlSocket: string;
  readonly reactor: Reactor;
  readonly log: LogMethod;
}

/** What sockets come under that nobody waits for in a request. */
export const PEERS = 0;

type Files = ReadonlyMap<string, number>;

export type Grants = Pick<GrantReceiver, 'take'>;

/** Does a job while what the daemon opened for it, if anything, is found by its path. @throws Error where that does not come */
export async function withGrant<T>(
  grants: Grants | undefined,
  grant: number | undefined,
  job: () => Promise<T>,
): Promise<T> {
  if (grants === undefined || grant === undefined) return job();
  const release = grantPaths(await grants.take(grant));
  try {
    return await job();
  } finally {
    release();
  }
}

export class GrantReceiver {
  readonly #options: GrantReceiverOptions;
  readonly #arrived = new Map<number, Files>();
  readonly #waiting = new Map<number, (files: Files) => void>();
  /** Takes over sockets that functions asked for. */
  onPeer: (fn: string, fd: number) => void = (_, fd) => closeFd(fd);
  #path: string;
  #listener = -1;

  constructor(options: GrantReceiverOptions) {
    this.#options = options;
    this.#path = grantSocket(options.controlSocket);
  }

  /** @throws HostError */
  listen(): void {
    this.#listener = listenUnix(this.#path);
    this.#options.reactor.add(this.#listener, EpollEvents.EPOLLIN, () => this.#accept());
  }

  /** What came, or comes, under that number; the descriptors are the caller's. @throws Error where nothing comes */
  async take(grant: number): Promise<Files> {
    const files = this.#arrived.get(grant);
    if (files !== undefined) {
      this.#arrived.delete(grant);
      return files;
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(grant);
        reject(new Error(`what was opened for request ${grant} did not come`));
      }, PATIENCE_MS);
      this.#waiting.set(grant, (arrived) => {
        clearTimeout(timer);
        this.#waiting.delete(grant);
        resolve(arrived);
      });
    });
  }

  /** The daemon is gone that may have sent more than it asked for. */
  forget(): void {
    for (const files of this.#arrived.values()) for (const fd of files.values()) closeFd(fd);
    this.#arrived.clear();
  }

  /** The control socket is found there from now on. */
  moveTo(controlSocket: string): void {
    renameSync(this.#path, grantSocket(controlSocket));
    this.#path = grantSocket(controlSocket);
  }

  close(): void {
    this.#options.reactor.remove(this.#listener);
    closeFd(this.#listener);
    if (lstatSync(this.#path, { throwIfNoEntry: false })) unlinkSync(this.#path);
  }

  #accept(): void {
    for (;;) {
      const fd = acceptConnection(this.#listener);
      if (fd < 0) return;
      const channel = new HandOverChannel(fd, this.#options.reactor);
      this.#receive(channel)
        .catch((error: unknown) => this.#options.log('a grant broke off', error))
        .finally(() => channel.close());
    }
  }

  async #receive(channel: HandOverChannel): Promise<void> {
    const message = await channel.receive();
    if (message === undefined) return;
    const { data, parcel } = message;
    if (!Value.Check(Grant, data)) {
      parcel.close();
      throw new ChannelError('that is no grant');
    }
    const paths = Object.keys(data.paths);
    const fds = parcel.takeFds(Object.values(data.paths));
    const files = new Map(paths.map((path, i) => [path, fds[i]]));
    if (data.grant === PEERS) return files.forEach((fd, fn) => this.onPeer(fn, fd));
    const wake = this.#waiting.get(data.grant);
    if (wake) wake(files);
    else this.#arrived.set(data.grant, files);
  }
}
