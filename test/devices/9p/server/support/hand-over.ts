/** Hands a client over to another server as between two processes: its state as bytes, its descriptors over a socket. */
import { expect } from 'vitest';
import type { Server } from '../../../../../devices/9p/server/server.js';
import { GivenDescriptors, SavedDescriptors } from '../../../../../devices/state-descriptors.js';
import {
  closeFd,
  ReceivedFds,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
  socketPair,
} from '../../../../../host/index.js';

export interface SentState {
  readonly bytes: Uint8Array;
  /** Of the old server's open files, as another process has them. */
  readonly fds: number[];
}

/** Saves it for another process, in one turn. */
export function sendState(server: Server): SentState {
  const descriptors = new SavedDescriptors();
  const bytes = server.saveState({ leavesProcess: true, descriptors });
  return { bytes, fds: duplicates(descriptors.fds) };
}

/** As `Server.restoreState`, of descriptors that came with the state; what is left of them is closed. */
export async function receiveState(server: Server, { bytes, fds }: SentState): Promise<string | undefined> {
  const descriptors = new GivenDescriptors(fds);
  const problem = await server.restoreState(bytes, descriptors);
  for (const fd of descriptors.left) closeFd(fd);
  return problem;
}

export function closeAll({ fds }: SentState): void {
  for (const fd of fds) closeFd(fd);
}

/** The same open files under other numbers, as SCM_RIGHTS makes them. */
export function duplicates(fds: readonly number[]): number[] {
  const [from, to] = socketPair();
  const all: number[] = [];
  const byte = new Uint8Array(1);
  const received = new ReceivedFds(SCM_MAX_FD);
  for (let at = 0; at < fds.length; at += SCM_MAX_FD) {
    expect(sendMessage(from, byte, 0, 1, fds.slice(at, at + SCM_MAX_FD))).toBe(1);
    expect(recvMessage(to, byte, 0, 1, received)).toBe(1);
    for (let i = 0; i < received.count; i++) all.push(received.take(i));
  }
  closeFd(from);
  closeFd(to);
  return all;
}
