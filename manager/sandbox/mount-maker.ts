/**
 * Makes mounts of directories (`cloneMount`) for a daemon that is not root: by a process in a user namespace of its own, in which it may. That
 * process sees all that the daemon does, serves nobody else, and is started when it is needed first.
 */
import { spawn, type StdioOptions } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Value } from '@sinclair/typebox/value';
import { cloneMount, closeFd, Errno, socketPair } from '../../host/index.js';
import { TRYING } from '../device-process/grant-channel.js';
import { ChannelError, HandOverChannel, type Message } from '../device-process/hand-over/channel.js';
import { Cloned, MOUNT_MAKER_FD, MountMakerMessage } from './mount-maker-protocol.js';

/** One that waits for a server's disk is left to it, and another one is started. */
const ANSWERED_MS = 10_000;
const ENTRY = fileURLToPath(new URL('./mount-maker-entry.js', import.meta.url));

export class MountMaker {
  #channel: HandOverChannel | undefined;
  /** The host's mounts as they were when that process was started. */
  #mounts = '';
  #last: Promise<unknown> = Promise.resolve();

  /** As `cloneMount`, one at a time. @returns an fd that is the caller's, or a negative errno: -EPERM also where there can be no such process */
  async clone(path: string): Promise<number> {
    if (process.geteuid?.() === 0) return cloneMount(path);
    const cloned = this.#last.then(() => this.#ask(path));
    this.#last = cloned;
    return cloned;
  }

  async #ask(path: string): Promise<number> {
    const channel = this.#current();
    const timer = setTimeout(() => channel.close(), ANSWERED_MS);
    try {
      await channel.send(MountMakerMessage.CLONE, { path });
      return resultOf(await channel.receive());
    } catch {
      this.#channel = undefined;
      channel.close();
      return -Errno.EPERM;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Where the host's mounts are not shared with other namespaces, one sees none that were made since: then there is another. */
  #current(): HandOverChannel {
    const mounts = readFileSync('/proc/self/mountinfo', 'latin1');
    if (this.#channel && mounts === this.#mounts) return this.#channel;
    this.#channel?.close();
    this.#mounts = mounts;
    return (this.#channel = start());
  }
}

/** @throws Error where that is no answer */
function resultOf(message: Message | undefined): number {
  if (message === undefined) throw new ChannelError('it is gone');
  const { data, parcel } = message;
  try {
    if (!Value.Check(Cloned, data)) throw new ChannelError('that is no answer');
    return data.fd === undefined ? (data.error ?? -Errno.EPERM) : parcel.takeFd(data.fd);
  } finally {
    parcel.close();
  }
}

/** It ends with the other end of its socket. */
function start(): HandOverChannel {
  const [ours, theirs] = socketPair();
  const args = ['--unshare-user', '--cap-add', 'CAP_SYS_ADMIN', '--dev-bind', '/', '/'];
  const stdio: StdioOptions = ['ignore', 'ignore', 'ignore'];
  stdio[MOUNT_MAKER_FD] = theirs;
  const child = spawn('bwrap', [...args, '--', process.execPath, ENTRY], {
    ...{ stdio, detached: true, cwd: '/' },
  });
  child.on('error', () => undefined).unref();
  closeFd(theirs);
  return new HandOverChannel(ours, TRYING);
}
