/** How the two processes of a hand-over find each other: at a socket that the new one makes, for one connection. */
import { unlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  acceptConnection,
  closeFd,
  connectUnix,
  EpollEvents,
  listenUnix,
  type Reactor,
} from '../../../host/index.js';
import { ChannelError, HandOverChannel } from './channel.js';

/** The daemon asks both at once, and ends the new process where nothing comes of it. */
const CONNECT_MS = 10_000;
const CONNECT_RETRY_MS = 5;

export interface HandOverConnections {
  /** @throws HostError where nobody listens there, and nobody comes to */
  connect(socketPath: string): Promise<HandOverChannel>;
  /** @throws HostError where the socket cannot be made, ChannelError where nobody comes */
  accept(socketPath: string): Promise<HandOverChannel>;
}

export function handOverConnections(reactor: Reactor): HandOverConnections {
  return {
    connect: (socketPath) => connect(socketPath, reactor),
    accept: (socketPath) => acceptOne(socketPath, reactor),
  };
}

/** The other process may be about to listen. */
async function connect(socketPath: string, reactor: Reactor): Promise<HandOverChannel> {
  for (const end = performance.now() + CONNECT_MS; ;) {
    try {
      return new HandOverChannel(connectUnix(socketPath), reactor);
    } catch (error) {
      if (performance.now() > end) throw error;
      await delay(CONNECT_RETRY_MS);
    }
  }
}

async function acceptOne(socketPath: string, reactor: Reactor): Promise<HandOverChannel> {
  const listener = listenUnix(socketPath);
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new ChannelError('nobody hands anything over')), CONNECT_MS);
      reactor.add(listener, EpollEvents.EPOLLIN, () => resolve());
    });
    const fd = acceptConnection(listener);
    if (fd < 0) throw new ChannelError(`a connection cannot be accepted: errno ${-fd}`);
    return new HandOverChannel(fd, reactor);
  } finally {
    clearTimeout(timer);
    reactor.remove(listener);
    closeFd(listener);
    unlinkSync(socketPath);
  }
}
