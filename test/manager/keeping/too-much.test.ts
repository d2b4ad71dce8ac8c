import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Reactor } from '../../../host/index.js';
import { ConnectionKeeper } from '../../../manager/connection-keeper.js';
import type { HandOverChannel } from '../../../manager/device-process/hand-over/channel.js';
import { handOverConnections } from '../../../manager/device-process/hand-over/connections.js';
import { KeepingMessage, keepingOf } from '../../../manager/device-process/keeping/protocol.js';
import { temporaryFolders } from '../temporary-folder.js';
import { notingLog } from '../../support/log.js';

const MIB = 2 ** 20;
const folder = temporaryFolders();
const log: string[] = [];
let reactor: Reactor;
let keeper: ConnectionKeeper;
let told: HandOverChannel;

beforeEach(async () => {
  log.length = 0;
  reactor = new Reactor({ onError: (error) => log.push(String(error)) });
  reactor.start();
  const path = join(folder(), 'keep.sock');
  const connections = handOverConnections(reactor);
  const [channel, other] = await Promise.all([connections.accept(path), connections.connect(path)]);
  keeper = new ConnectionKeeper(notingLog(log).warn);
  keeper.listen(channel);
  told = other;
});
afterEach(() => {
  told.close();
  keeper.close();
  reactor.close();
});

async function tell(fn: string, part: string, data: string, fds: number[] = []): Promise<void> {
  const [keeping, parcel] = keepingOf(fn, 1, true, [{ name: part, data, fds }]);
  await told.send(KeepingMessage.TELL, keeping, parcel);
}

it('A keeper holds a connection until it is said to have ended', async () => {
  const fd = openSync('/dev/null', 'r');
  await tell('slot1-fn0', 'socket', 'it', [fd]);
  closeSync(fd);
  await expect.poll(() => keeper.has('slot1-fn0')).toBe(true);
  await told.send(KeepingMessage.ENDED, { function: 'slot1-fn0' });
  await expect.poll(() => keeper.has('slot1-fn0')).toBe(false);
});

it('A keeper does not hear a process any more that has more held than any needs', async () => {
  await tell('slot1-fn0', 'socket', 'x'.repeat(10 * MIB));
  await expect.poll(() => keeper.has('slot1-fn0')).toBe(true);
  await tell('slot1-fn1', 'socket', 'x'.repeat(10 * MIB));
  await expect.poll(() => log).toEqual([expect.stringMatching(/20\d+ bytes to hold, which is too much/)]);
  expect([keeper.has('slot1-fn0'), keeper.has('slot1-fn1')]).toEqual([false, false]);
  expect(await told.receive()).toBeUndefined();
});
