/** Ten thousand children. */
import { expect, it } from 'vitest';
import { READ_ONLY, TreeClient } from './support.js';

const MANY = 10_000;

it('Ten thousand children are added, looked up, listed, told and removed, in a few turns of the event loop', async () => {
  const client = await TreeClient.attached();
  await client.open(1, READ_ONLY, 'ctl', 'events');
  await client.read(1);
  for (let i = 0; i < MANY; i++) client.add(`child-${i}`, { target: `/many/${i}` });
  const events = await client.read(1, 0, 60_000);
  expect(events.startsWith('reset 1\nadd 1 child-0 /many/0\nadd 2 ')).toBe(true);
  await client.open(2, READ_ONLY);
  expect(await client.names(2, 60_000)).toHaveLength(MANY + 3);
  const paths = new Set<bigint>();
  for (let i = 0; i < MANY; i += 10) paths.add(await client.path(`child-${i}`));
  expect(paths.size).toBe(MANY / 10);
  for (let i = 0; i < MANY; i++) client.tree.remove(`child-${i}`);
  expect(client.tree.entries()).toEqual([]);
  await client.expectNoLeaks();
});
