/** What mounts on queues may have held together, and what is told of it. */
import { closeSync, openSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { HeldQueues } from '../../../manager/device-process/keeping/held-queues.js';
import { MAX_FILES } from '../../../manager/device-process/keeping/held-session.js';
import { openDescriptors } from '../ports/vhost-user/harness.js';

const MIB = 2 ** 20;

function newQueues() {
  const before = openDescriptors();
  const told = new Map<string, number>();
  const log: string[] = [];
  const queues = new HeldQueues((line, error) => log.push(`${line}: ${String(error)}`));
  queues.tell = async ({ name, fds }) => void told.set(name, fds.length);
  const file = openSync('/dev/null', 'r');
  onTestFinished(() => {
    queues.close();
    closeSync(file);
    expect(openDescriptors()).toBe(before);
  });
  return { queues, told, log, file };
}

it('Sessions are told of as mounts come, and let go as they leave', async () => {
  const { queues, told, file } = newQueues();
  const session = await queues.begin(7);
  await session.hold(3, file);
  expect(Object.fromEntries(told)).toEqual({ 'queue 7 journal': 1, 'queue 7 file 3': 1 });
  expect(queues.parts().map(({ name }) => name)).toEqual(['registers', 'queue 7 journal', 'queue 7 file 3']);
  await queues.end(7);
  expect(Object.fromEntries(told)).toEqual({ 'queue 7 journal': 0, 'queue 7 file 3': 0 });
  expect(queues.parts().map(({ name }) => name)).toEqual(['registers']);
});

it('All sessions together hold so many files without names, and room that one gives back is another’s', async () => {
  const { queues, file } = newQueues();
  const [one, two] = [await queues.begin(0), await queues.begin(1)];
  for (let fid = 0; fid < MAX_FILES - 1; fid++) await one.hold(fid, file);
  await two.hold(0, file);
  await two.hold(1, file);
  expect([two.of(0) !== undefined, two.of(1)]).toEqual([true, undefined]);
  one.release(5);
  await two.hold(1, file);
  expect(two.of(1)).toBeDefined();
});

it('All journals together have so much memory: one more is not made, which is said', async () => {
  const { queues, log } = newQueues();
  const sessions = [await queues.begin(0), await queues.begin(1), await queues.begin(2)];
  const made = (queue: number) => sessions[queue].journal.create(120 * MIB) !== undefined;
  expect([made(0), made(1), made(2)]).toEqual([true, true, false]);
  expect(log).toEqual([expect.stringMatching(/cannot make a session's journal: .*there is no room for it/)]);
  await queues.end(0);
  expect(made(2)).toBe(true);
});
