/**
 * An executable for `chassis doctor`: tries the native calls without which nothing works, and prints what came of it as a JSON document. A
 * process of its own, since a native library that does not fit the machine can end the one that loads it.
 */
import { pathToFileURL } from 'node:url';
import { closeFd, eventfdCreate, hasOpenat2, memfdCreate, Reactor } from '../host/index.js';

/** Why a call does not work, by its name; null where it does. */
export type HostCheck = Readonly<Record<'memfd_create' | 'eventfd' | 'epoll' | 'openat2', string | null>>;

function problemOf(attempt: () => void): string | null {
  try {
    attempt();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

function checkHost(): HostCheck {
  return {
    memfd_create: problemOf(() => closeFd(memfdCreate('chassis-doctor', 4096))),
    eventfd: problemOf(() => closeFd(eventfdCreate())),
    epoll: problemOf(() => new Reactor({ onError: () => undefined }).close()),
    openat2: hasOpenat2() ? null : 'this kernel does not have it',
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(`${JSON.stringify(checkHost())}\n`);
